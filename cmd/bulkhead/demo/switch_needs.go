package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// need is a part of the demo with a switch, and what it cannot do without.
type need struct {
	part     string
	programs []string
	packages string // of Debian and Ubuntu
}

func needs() []need {
	return []need{
		{"the switch that forwards packets", []string{"ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"}, "openvswitch-switch"},
		{"the NETCONF server", []string{"netconfd", "netconf-subsystem"}, "netconfd"},
		{"the way to it", []string{"sshd"}, "openssh-server"},
	}
}

// unmet says, in one line each, which part lacks what and how to get it. has reports whether
// a program is there.
func unmet(root, tap bool, has func(string) bool) (out []string) {
	if !root {
		out = append(out, "the switch has a tap device, and sshd logs somebody in: both need root. Run it with sudo")
	} else if !tap {
		out = append(out, "the switch has a tap device, and /dev/net/tun cannot be opened. Load the module tun, or let this container have the device")
	}
	for _, n := range needs() {
		var lacks []string
		for _, p := range n.programs {
			if !has(p) {
				lacks = append(lacks, p)
			}
		}
		if len(lacks) > 0 {
			out = append(out, fmt.Sprintf("%s needs %s. Install the package %s (apt-get install --no-install-recommends %[3]s)", n.part, strings.Join(lacks, ", "), n.packages))
		}
	}
	return out
}

// checkNeeds looks before anything is started.
func checkNeeds() error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	lacks := unmet(os.Geteuid() == 0, err == nil, installed)
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n  - %s", errNeeds, strings.Join(lacks, "\n  - "))
}

// installed reports whether a program is where programs are, also those that only root has
// in its path.
func installed(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return true
		}
	}
	return false
}
