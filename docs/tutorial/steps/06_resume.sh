seg train fields.py --work-dir run --resume
