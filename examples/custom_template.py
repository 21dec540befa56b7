"""A chat template of one's own for the nudging model: swap who nudges, or how, and the same base model answers anew.

python examples/custom_template.py
"""

from pathlib import Path

from nudge_client import generate

for template in ("server", str(Path(__file__).with_name("pirate.jinja"))):
    answer = generate("How do I find my way at sea?", chat_template=template, max_tokens=40)
    print(f"[{Path(template).stem}]\n{answer.text}\n")
