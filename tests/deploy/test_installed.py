"""The steps of the Dockerfile, carried out on this machine: what is locked is installed, and serves as the image would.

There is no Docker here. The root is an overlay over that of this machine, so that nothing is left: first the steps of
the build are run in it, as they stand; then it is made read-only, with a small /tmp in memory, and the command of the
image is run in it, by its user, without rights, in a network of its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can change roots"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("unshare", "setpriv", "chroot", "ip"))), reason="util-linux and iproute2 needed"
    ),
]

#: Mounts an overlay over this machine's root, makes it the image, and serves from it. $1 is an empty folder, $2 the
#: steps of the build, $3 those of the image, $4 what is looked at while it serves.
SCRIPT: Final = r"""
set -eu
mount -t tmpfs -o size=2g,mode=0755 tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root" || { echo no-overlay; exit 0; }
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mkdir -p "$1/root/src"
cp -a "$SOURCES/." "$1/root/src/"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
chroot "$1/root" sh -euc "cd / && $2" >&2
chroot "$1/root" sh -euc "$3" >&2
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$1/root/tmp"
mount -t tmpfs -o size=2g,mode=0700,uid=10001,gid=10001 tmpfs "$1/root/var/lib/titrator"
mount -o remount,ro "$1/root"
exec unshare --net sh -euc '
    ip link set lo up
    exec chroot "$1/root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all \
        --inh-caps=-all env -i $ENVIRONMENT HOME=/var/lib/titrator sh -uc "$2"
' sh "$1" "$4"
"""
LOOKED_AT: Final = r"""
cd /var/lib/titrator
touch /opt/titrator/x 2>/dev/null || echo read-only: yes
echo "user: $(id -u):$(id -g)"
{command} >/tmp/said 2>/tmp/log &
server=$!
for _ in $(seq 100); do {health} 2>/dev/null && break; sleep 0.2; done
{health} && echo healthy: yes || cat /tmp/said /tmp/log >&2
titrator init --json >/dev/null && echo init: yes
titrator doctor --quick --json | sed 's/^/doctor: /'
kill -TERM $server
wait $server && echo ended: 0
ls -A /opt/titrator/bin | tr '\n' ' ' | sed 's/^/bin: /'
"""


def steps(of: str) -> list[str]:
    return re.findall(rf"^{of} (.*)$", DOCKERFILE, re.MULTILINE)


def test_what_is_locked_is_installed_and_serves_from_a_read_only_root(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    for copy in steps("COPY"):
        if not copy.startswith("--from"):
            *names, target = copy.split()
            for name in names:
                into = sources / Path(target).relative_to("/src")
                into = into if (ROOT / name).is_dir() else into / Path(name).name
                into.parent.mkdir(parents=True, exist_ok=True)
                copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copied(ROOT / name, into)
    runs = steps("RUN")
    first = next(number for number, step in enumerate(runs) if "groupadd" in step)
    command = [*json.loads(steps("ENTRYPOINT")[0]), *json.loads(steps("CMD")[0])]
    health = json.loads(steps("HEALTHCHECK")[0].partition("CMD ")[2])
    looked_at = LOOKED_AT.format(command=shlex.join(command), health=shlex.join(health))
    (tmp_path / "place").mkdir()
    ran = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh", str(tmp_path / "place")),
            *("; ".join(runs[:first]), "; ".join(runs[first:]), looked_at),
        ],
        env={**os.environ, "SOURCES": str(sources), "ENVIRONMENT": steps("ENV")[0]},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    if "no-overlay" in ran.stdout:
        pytest.skip("no overlay can be mounted here")
    told = dict(line.split(": ", 1) for line in ran.stdout.splitlines())
    assert "healthy" in told, ran.stderr[-3000:]
    assert (told["read-only"], told["user"], told["healthy"], told["init"]) == ("yes", "10001:10001", "yes", "yes")
    assert told["ended"] == "0"
    assert "pip" not in told["bin"].split(), "what builds is not in what runs"
    examined = json.loads(told["doctor"])
    assert [one for one in examined["findings"] if one["severity"] == "fault"] == []
    (program,) = [one["what"] for one in examined["findings"] if one["check"] == "program"]
    assert "as packaged" in program or "are those that were packaged" in program
