seg predict run/best_mIoU_iter_*.pth photos --out predicted
cp predicted/overlays/new_0.png predicted.png
