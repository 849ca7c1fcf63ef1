seg train configs/street.py --work-dir work_dirs/street --resume --cfg-options train_cfg.max_iters=5
