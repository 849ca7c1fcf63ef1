seg test configs/street.py work_dirs/street/iter_4.pth --tta --out predicted
