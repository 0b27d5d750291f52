#!/bin/sh
# Makes a virtual environment: venv.sh FOLDER [PYTHON]. Without PYTHON it takes the first on the path that fits.
# Where none does, it says which command installs one.
set -eu

folder=$1
wanted=${2-}
names="python3.11 python3.12 python3.13 python3.14 python3 python"

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

fits() {
	case $(version "$1") in
	3.11 | 3.12 | 3.13 | 3.14) return 0 ;;
	*) return 1 ;;
	esac
}

# Debian and Ubuntu keep what a new environment's pip comes from in a package of its own.
is_whole() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

found() {
	told=
	for name in $names; do
		if there=$(version "$name"); then told="$told${told:+, }$name is $there"; fi
	done
	echo "${told:-there is no Python at all}"
}

no_python() {
	cat >&2 <<END
No Python 3.11, 3.12, 3.13 or 3.14 was found: $1.
One of these commands installs one:
  Debian 12, Ubuntu 24.04 or later   sudo apt install python3 python3-venv
  Fedora                             sudo dnf install python3.13
  macOS                              brew install python@3.13
  Windows                            winget install Python.Python.3.13
  anywhere, with uv                  uv python install 3.13
  anywhere, with pyenv               pyenv install 3.13
Then run make again. If it is not on the path, name it: make PYTHON=/path/to/python3.13 ...
END
	exit 1
}

no_venv() {
	cat >&2 <<END
$1 is Python $(version "$1"), but it cannot make virtual environments: its modules venv and ensurepip are not installed.
On Debian and Ubuntu, which keep them in a package of their own, install it and run make again:
  sudo apt install python3-venv      (for a Python beside the system's: python$(version "$1")-venv)
Elsewhere take another Python: make PYTHON=/path/to/python ...
END
	exit 1
}

if [ -n "$wanted" ]; then
	there=$(version "$wanted") || no_python "$wanted does not run"
	fits "$wanted" || no_python "$wanted is $there"
	is_whole "$wanted" || no_venv "$wanted"
else
	incomplete=
	for name in $names; do
		fits "$name" || continue
		if is_whole "$name"; then
			wanted=$name
			break
		fi
		incomplete=${incomplete:-$name}
	done
	[ -n "$wanted" ] || [ -z "$incomplete" ] || no_venv "$incomplete"
	[ -n "$wanted" ] || no_python "$(found)"
fi

echo "$wanted -m venv $folder"
exec "$wanted" -m venv "$folder"
