#!/usr/bin/env bash
# Installs what the tests run against, from the distribution: the nft tool,
# iproute2, conntrack and ping, whose word the tests compare with ours, and a C
# compiler for the race detector. As root, or by sudo. Does nothing where
# everything is there.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing+=("$2"); }
need nft nftables
need ip iproute2
need conntrack conntrack
need ping iputils-ping
need curl curl
need unshare util-linux
need setpriv util-linux
need gcc gcc # the race detector links through it

[ ${#missing[@]} -eq 0 ] && exit 0
echo "the tests need ${missing[*]}; installing from the distribution" >&2
sudo=""
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "not root, and there is no sudo: install ${missing[*]} yourself" >&2; exit 1; }
	sudo="sudo"
fi
command -v apt-get >/dev/null || { echo "no apt-get here: install ${missing[*]} yourself" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" libc6-dev
