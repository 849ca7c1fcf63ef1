seg migrate work_dirs/street/iter_4.pth --to mmengine -o street_mmengine.pth
