"""Take the model into a program of your own: it needs the checkpoint, and no config beside it."""

from pathlib import Path

from seg_runner import export_safetensors

from seg_engine import load_model

checkpoint = next(Path("run").glob("best_mIoU_iter_*.pth"))
model = load_model(checkpoint)
for path in sorted(Path("photos").glob("*.jpg")):
    prediction = model.predict(path)
    print(f"{path}: weeds on {100 * prediction.shares().get('weed', 0):.1f} % of the ground")

export_safetensors(checkpoint, "fields.safetensors")
sizes = [f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in (checkpoint, Path("fields.safetensors"))]
print(", ".join(sizes))
