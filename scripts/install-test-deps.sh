#!/usr/bin/env bash
# Installs what the tests run against, from the distribution: the nft tool,
# iproute2, conntrack and ping, whose word the tests compare with ours, a switch
# (Open vSwitch, an SNMP agent for it, a NETCONF server and the sshd before it), and a C
# compiler for the race detector. As root, or by sudo. Does nothing where everything is
# there.
#
# The daemons among them are not started, now or at the next start of the machine:
# tests run their own, in namespaces.
#
# The other firewalls that tests run us beside are not installed but laid out in a
# directory of their own: as packages they would start with the machine that runs the
# tests, and put a firewall on it.
set -euo pipefail

beside=/var/lib/bulkhead-tests
missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing+=("$2"); }
need nft nftables
need ip iproute2
need conntrack conntrack
need ping iputils-ping
need curl curl
need unshare util-linux
need setpriv util-linux
need ovs-vswitchd openvswitch-switch
need snmpd snmpd
need snmpget snmp
perl -MNetSNMP::agent -e1 2>/dev/null || missing+=(libsnmp-perl)
need netconfd netconfd
need sshd openssh-server
need gcc gcc # the race detector links through it
[ -e "$beside/done" ] || missing+=(dbus-daemon python3-dbus python3-gi python3-nftables libip4tc2 libip6tc2 libxtables12 libnetfilter-conntrack3 libdevmapper1.02.1)

[ ${#missing[@]} -eq 0 ] && exit 0
echo "the tests need ${missing[*]}; installing from the distribution" >&2
sudo=""
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "not root, and there is no sudo: install ${missing[*]} yourself" >&2; exit 1; }
	sudo="sudo"
fi
command -v apt-get >/dev/null || { echo "no apt-get here: install ${missing[*]} yourself" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# Tests start an sshd of their own. Where there was none, none is to listen because of them.
case " ${missing[*]} " in
*" openssh-server "*)
	if command -v systemctl >/dev/null; then
		echo "ssh.service and ssh.socket are masked, so that nothing listens; systemctl unmask them to use them" >&2
		$sudo systemctl mask ssh.service ssh.socket >&2 || true
	fi
	;;
esac
$sudo apt-get update -qq
$sudo sh -euc '
	if [ ! -e /usr/sbin/policy-rc.d ]; then # a package asks it before it starts a daemon
		trap "rm -f /usr/sbin/policy-rc.d" EXIT
		printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
	fi
	apt-get install -y -qq --no-install-recommends "$@"
	for package; do
		case $package in openvswitch-switch | snmpd) ! command -v systemctl >/dev/null || systemctl disable --quiet "$package.service" ;; esac
	done
' sh "${missing[@]}" libc6-dev
[ -e "$beside/done" ] && exit 0

# All of them as they are in a machine where they are installed, for an overlay.
$sudo sh -euc '
	rm -rf "$1" && mkdir -p "$1/debs" "$1/root" && cd "$1/debs"
	chown _apt . 2>/dev/null || true
	apt-get download -qq firewalld python3-firewall ufw docker.io containerd runc iptables
	for deb in *.deb; do dpkg-deb -x "$deb" ../root; done
	cd ../root && rm -r ../debs
	for d in bin sbin lib; do # one tree, as /usr-merged systems have it
		[ ! -d "$d" ] || { mkdir -p "usr/$d" && cp -a "$d/." "usr/$d/" && rm -r "$d"; }
	done
	for tool in iptables iptables-restore iptables-save ip6tables ip6tables-restore ip6tables-save; do
		ln -sf xtables-nft-multi "usr/sbin/$tool"
	done
	touch ../done
' sh "$beside"
