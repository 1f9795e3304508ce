package lab

import (
	"bytes"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// Nothing is lost on the way: the gateway counts every try of what it drops.
func TestNothingIsLost(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	nft(t, n.Gateway, `table inet t { chain f { type filter hook forward priority 0; policy accept; udp dport 1000-8000 counter drop;
	}
}`)
	var probes []Probe
	for i := range 6000 {
		from, to := "a", "b"
		if i%3 == 0 {
			from, to = "c", "a"
		}
		probes = append(probes, Probe{From: from, Dst: n.Addr(to, i%2 == 0), Proto: 17, Num: uint16(1000 + i)})
	}
	sent := 0
	for _, r := range run(t, p, probes) {
		sent += r.Tries
	}
	cmd := exec.Command("nft", "list", "ruleset")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := n.Gateway.Run(cmd); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("no counter in\n%s", out.String())
	}
	counted, _ := strconv.Atoi(m[1])
	t.Logf("%d sent, %d counted", sent, counted)
	if counted < sent*999/1000 {
		t.Errorf("%d packets were sent and the gateway saw %d", sent, counted)
	}
}
