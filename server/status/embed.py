"""Makes one page of status.html, status.css and status.js, as a C array.

usage: embed.py HTML CSS JS OUT.c
"""

import sys


def main():
    html, css, js, out = sys.argv[1:]
    with open(html, encoding="utf-8") as f:
        page = f.read()
    for name, tag in ((css, "style"), (js, "script")):
        with open(name, encoding="utf-8") as f:
            text = f.read()
        place = f"<!-- {tag} -->"
        if page.count(place) != 1 or f"</{tag}" in text:
            sys.exit(f"{html}: there must be one {place}, and no </{tag} in {name}")
        page = page.replace(place, f"<{tag}>\n{text}</{tag}>")
    data = page.encode()
    with open(out, "w", encoding="ascii") as f:
        f.write('#include "server/metrics/page.h"\n\nconst unsigned char metrics_page[] = {\n')
        for at in range(0, len(data), 20):
            f.write("    " + ",".join(str(b) for b in data[at:at + 20]) + ",\n")
        f.write("};\nconst size_t metrics_page_size = sizeof(metrics_page);\n")


main()
