package demo

import (
	"context"
	"fmt"
	"net/netip"
	"sort"
	"time"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/policy"
)

// sample is one service that is probed between every pair of machines.
type sample struct {
	proto     uint8
	num       uint16
	fragments int
}

func (s sample) family(four bool) bool {
	return s.proto != 1 && s.proto != 58 || (s.proto == 1) == four
}

// numbered reports whether packets of one flow differ from those against it.
func (s sample) numbered() bool {
	switch s.proto {
	case 1, 6, 17, 58, 132:
		return true
	}
	return false
}

func (s sample) String() string {
	names := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}
	switch {
	case s.proto == 1 || s.proto == 58:
		name := map[uint8]string{1: "icmp", 58: "icmpv6"}[s.proto]
		if s == (sample{1, 8 << 8, 0}) || s == (sample{58, 128 << 8, 0}) {
			return name + "/echo-request"
		}
		return fmt.Sprintf("%s/%d", name, s.num>>8)
	case s.fragments > 1:
		return fmt.Sprintf("%s/%d in %d fragments", names[s.proto], s.num, s.fragments)
	case names[s.proto] != "":
		return fmt.Sprintf("%s/%d", names[s.proto], s.num)
	}
	return fmt.Sprintf("proto/%d", s.proto)
}

// samples lists what to probe: every service that a policy names, at both ends of
// its range and one past it, and some that none names.
func samples(book *policy.Rulebook) []sample {
	set := map[sample]bool{
		{6, 9999, 0}: true, {17, 9999, 0}: true, {132, 102, 0}: true, {17, 6980, 2}: true, {50, 0, 0}: true,
		{1, 13 << 8, 0}: true, {58, 139 << 8, 0}: true,
	}
	for _, p := range book.Policies {
		for _, r := range p.Ranges {
			icmp := r.Proto == 1 || r.Proto == 58
			ports := r.Proto == 6 || r.Proto == 17 || r.Proto == 132
			switch {
			case len(p.Ranges) > 32: // it says "any"
			case icmp:
				set[sample{r.Proto, r.Lo, 0}] = true
			case !ports:
				set[sample{r.Proto, 0, 0}] = true
			default:
				set[sample{r.Proto, r.Lo, 0}] = true
				set[sample{r.Proto, r.Hi, 0}] = true
				if r.Lo < r.Hi && r.Hi < 65535 {
					set[sample{r.Proto, r.Hi + 1, 0}] = true
				}
			}
		}
	}
	var out []sample
	for s := range set {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.proto != b.proto {
			return a.proto < b.proto
		}
		if a.num != b.num {
			return a.num < b.num
		}
		return a.fragments < b.fragments
	})
	return out
}

// round is one comparison of packets with policy.
type round struct {
	name  string
	rows  []row // one for each sample
	took  time.Duration
	wrong []string
}

// row sums one service up over all pairs and both families.
type row struct {
	service                          string
	probed, permits, arrived, differ int
}

// question is one probe with what policy says of it.
type question struct {
	row    int
	permit bool
	by     string
}

// ask makes the probes: every pair of machines that has the gateway between them,
// every sample, both families.
func (d *demo) ask() (probes []lab.Probe, questions []question, rows []row) {
	list := samples(d.site.Config.Book)
	for _, s := range list {
		rows = append(rows, row{service: s.String()})
	}
	for _, from := range d.net.Hosts() {
		for _, to := range d.net.Hosts() {
			if !d.net.Crosses(from, to) {
				continue
			}
			for _, four := range []bool{true, false} {
				src, dst := d.net.Addr(from, four), d.net.Addr(to, four)
				for i, s := range list {
					if !s.family(four) {
						continue
					}
					q := d.judge(i, src, dst, s)
					// Where a protocol has no numbers, a packet against the direction of a
					// permitted flow is that flow's answer, and nobody can tell it from one
					// that begins something.
					if !q.permit && !s.numbered() && d.judge(i, dst, src, s).permit {
						continue
					}
					probes = append(probes, lab.Probe{From: from, Dst: dst, Proto: s.proto, Num: s.num, Fragments: s.fragments})
					questions = append(questions, q)
				}
			}
		}
	}
	return probes, questions, rows
}

// judge asks the policy. The point adds nothing to it here: its failsafe and its
// essential traffic end at the gateway, and these flows go through it.
func (d *demo) judge(i int, src, dst netip.Addr, s sample) question {
	v := d.site.World.Decide(policy.Flow{Src: src, Dst: dst, Proto: s.proto, Num: s.num})
	side := v.Egress
	if v.Egress.Permit {
		side = v.Ingress
	}
	by := "the default"
	if side.Policy != nil {
		by = fmt.Sprintf("%q (%s)", side.Policy.Name, side.Policy.Pos)
	}
	return question{row: i, permit: v.Permit, by: by}
}

// compare sends every probe and holds what arrived against the policy. open is
// for the plant before anything is enforced: all must arrive.
func (d *demo) compare(ctx context.Context, name string, open bool) error {
	probes, questions, rows := d.ask()
	r := &round{name: name, rows: rows}
	begin := time.Now()
	next := 10000
	results, err := d.prober.Run(ctx, probes, lab.ProbeOptions{Progress: func(sent, most int) {
		if sent >= next {
			d.working("%s of at most %s packets sent", count(sent), count(most))
			next = sent + 10000
		}
	}})
	if err != nil {
		return fmt.Errorf("send packets: %w", err)
	}
	r.took = time.Since(begin)
	for i, got := range results {
		q := questions[i]
		if open {
			q.permit, q.by = true, "nothing is enforced yet"
		}
		row := &r.rows[q.row]
		row.probed++
		row.permits += number(q.permit)
		row.arrived += number(got.Got)
		if got.Got != q.permit || got.Part {
			row.differ++
			r.wrong = append(r.wrong, d.complaint(&probes[i], q, got))
		}
	}
	return d.conclude(r, open)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (d *demo) complaint(p *lab.Probe, q question, got lab.Result) string {
	says, is := "drops", "it did not arrive"
	if q.permit {
		says = "permits"
	}
	switch {
	case got.Part:
		is = "only some of its fragments arrived"
	case got.Got:
		is = "it arrived"
	}
	return fmt.Sprintf("%s -> %s (%s -> %s) %s: policy %s it by %s, and %s", p.From, d.net.Owner(p.Dst),
		d.net.Addr(p.From, p.Dst.Is4()), p.Dst, sample{p.Proto, p.Num, p.Fragments}, says, q.by, is)
}

// conclude reports a round and keeps it for the table.
func (d *demo) conclude(r *round, open bool) error {
	probed, arrived := 0, 0
	for _, row := range r.rows {
		probed += row.probed
		arrived += row.arrived
	}
	if !open {
		d.rounds = append(d.rounds, r)
	}
	d.say("%s probes in %.1f s: %s arrived, %s did not.", count(probed), r.took.Seconds(), count(arrived), count(probed-arrived))
	if len(r.wrong) == 0 {
		if !open {
			d.say("Every single one as policy says.")
		}
		return nil
	}
	for i, w := range r.wrong {
		if i == 5 {
			d.say("... and %s more", count(len(r.wrong)-i))
			break
		}
		d.say("WRONG: %s", diag.Safe(w))
	}
	return fmt.Errorf("%w: %d of %d probes (%s)", ErrDisagree, len(r.wrong), probed, r.name)
}
