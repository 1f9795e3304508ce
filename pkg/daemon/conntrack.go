package daemon

import (
	"os"
	"strconv"
	"strings"
)

// conntrack is how full the kernel's table of flows is. A full one drops new flows,
// whatever policy says.
type conntrack struct{ entries, limit, invalid, dropped float64 }

// The files of the network namespace of this process.
const (
	conntrackCount = "/proc/sys/net/netfilter/nf_conntrack_count"
	conntrackMax   = "/proc/sys/net/netfilter/nf_conntrack_max"
	conntrackStat  = "/proc/net/stat/nf_conntrack"
)

// conntrackFull is the share of the table at which the daemon warns.
const conntrackFull = 0.8

func readConntrack() (t conntrack, ok bool) {
	var ok1, ok2 bool
	t.entries, ok1 = readNumber(conntrackCount)
	t.limit, ok2 = readNumber(conntrackMax)
	if b, err := os.ReadFile(conntrackStat); err == nil {
		t.invalid, t.dropped = parseConntrackStat(string(b))
	}
	return t, ok1 && ok2
}

func readNumber(file string) (float64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	return n, err == nil
}

// parseConntrackStat sums the columns "invalid", and "drop" and "early_drop", over
// the processors. The first line names the columns, the numbers are hexadecimal.
func parseConntrackStat(text string) (invalid, dropped float64) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	names := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		for i, f := range strings.Fields(line) {
			n, err := strconv.ParseUint(f, 16, 64)
			if err != nil || i >= len(names) {
				continue
			}
			switch names[i] {
			case "invalid":
				invalid += float64(n)
			case "drop", "early_drop":
				dropped += float64(n)
			}
		}
	}
	return invalid, dropped
}

// warnConntrack says that the table is nearly full, once until it is not any more.
func (d *Daemon) warnConntrack() {
	t, ok := readConntrack()
	full := ok && t.limit > 0 && t.entries >= conntrackFull*t.limit
	if full && !d.warned {
		d.o.Log.Warn("the kernel's table of flows is nearly full: above its limit new flows are dropped, whatever policy says; raise net.netfilter.nf_conntrack_max",
			"entries", t.entries, "limit", t.limit)
	}
	d.warned = full
}
