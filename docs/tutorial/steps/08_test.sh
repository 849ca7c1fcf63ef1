seg test fields.py run/best_mIoU_iter_*.pth --work-dir run/test --show-dir tested
cp tested/vis_data/vis_image/test_field_000.*.png tested.png
