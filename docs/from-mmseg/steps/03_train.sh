seg train configs/street.py --work-dir work_dirs/street
