"""Every lesson as a notebook: converted with Jupytext, run from top to bottom in its quick form, pictures inline.

Needs jupytext, nbclient and ipykernel; where they are not installed, it says so and passes.
"""

import os
import sys
from pathlib import Path

LESSONS = Path(__file__).resolve().parents[1] / "lessons"


def main():
    try:
        import jupytext
        from nbclient import NotebookClient
    except ImportError as error:
        print(f"notebooks are not tried: {error}")
        return
    os.environ["LESSON_OPTIONS"] = "--quick"
    for path in sorted(LESSONS.glob("[0-9][0-9]_*.py")):
        notebook = jupytext.read(path)
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(LESSONS)}}).execute()
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        pictures = sum("image/png" in output.get("data", {}) for output in outputs)
        print(f"{path.name:32s}{len(notebook.cells):4d} cells {pictures:3d} pictures inline", flush=True)
        if not pictures:
            sys.exit(f"{path.name} has shown no picture")


if __name__ == "__main__":
    main()
