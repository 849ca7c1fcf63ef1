"""List what an environment holds as a CycloneDX SBOM: `./run lint:sbom PYTHON WHEEL TARGET`.

The wheel is the main component, with its version and its hash. Two runs give the same file: the serial number follows
from the wheel, the time is that of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import uuid
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def metadata_of(wheel: Path) -> dict[str, str]:
    """Return what the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (held,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return dict(message_from_bytes(archive.read(held)).items())


def listed(python: str, about: dict[str, str]) -> dict[str, Any]:
    """Return the SBOM of an environment; the environment's package named `about` is its main component."""
    project = {"name": about["Name"], "version": about["Version"], "description": about["Summary"]}
    project["license"] = about["License-Expression"]
    with tempfile.TemporaryDirectory() as folder:
        pyproject = Path(folder) / "pyproject.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in project.items()]
        pyproject.write_text("\n".join(["[project]", *lines]) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "cyclonedx_py", "environment", python, "--output-reproducible"]
        command += ["--no-validate", "--mc-type", "library", "--pyproject", str(pyproject)]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def main() -> int:
    """Write the file; an SBOM that the schema refuses is an error."""
    python, wheel, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    about, digest = metadata_of(wheel), hashlib.sha256(wheel.read_bytes()).hexdigest()
    sbom = listed(python, about)
    main_component = sbom["metadata"]["component"]
    main_component["purl"] = f"pkg:pypi/{about['Name']}@{about['Version']}"
    main_component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    sbom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, f"{wheel.name}#sha256={digest}").urn
    text = json.dumps(sbom, indent=2, sort_keys=True) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.from_version(sbom["specVersion"])).validate_str(text):
        print(f"sbom: {target.name}: {fault}", file=sys.stderr)
        return 1
    target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
