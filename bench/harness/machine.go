package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a figure depends on besides the program. It names no host and no
// path.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	NFT    string `json:"nft"`
	// Root is set if measurements ran with privilege in the first user namespace, so
	// that the kernel lets a socket have buffers of any size.
	Root bool `json:"root"`
}

func (m Machine) String() string {
	who := "an ordinary user"
	if m.Root {
		who = "root"
	}
	return fmt.Sprintf("%d cores of %s, Linux %s, %s, nft %s, as %s", m.Cores, m.CPU, m.Kernel, m.Go, m.NFT, who)
}

func thisMachine() (Machine, error) {
	m := Machine{CPU: "an unknown processor", Cores: runtime.NumCPU(), Go: runtime.Version(), NFT: "none", Root: os.Geteuid() == 0}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(b)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(u.Release[:])
	if b, err := exec.Command("nft", "--version").Output(); err == nil {
		m.NFT = nftVersion(string(b))
	}
	return m, nil
}

func cpuModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "an unknown processor"
}

// nftVersion reads "nftables v1.0.6 (Lester Gooch #5)".
func nftVersion(s string) string {
	for _, f := range strings.Fields(s) {
		if v, ok := strings.CutPrefix(f, "v"); ok {
			return v
		}
	}
	return "unknown"
}
