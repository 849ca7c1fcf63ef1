seg train fields.py --cfg-options optim_wrapper.optimizer.wieght_decay=0.01
