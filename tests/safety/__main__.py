"""usage: python -m tests.safety: write docs/safety-lines.md."""

from tests.safety.document import text
from tests.safety.mutate import ROOT

(ROOT / "docs" / "safety-lines.md").write_text(text())
