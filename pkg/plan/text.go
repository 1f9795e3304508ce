package plan

import (
	"bytes"
	"fmt"
	"strings"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/packet"
)

// texter writes for a terminal. Everything that came from a file or a device is
// escaped; colour only repeats what the words say.
type texter struct {
	bytes.Buffer
	colour bool
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	bold  = "\x1b[1m"
)

func (t *texter) line(style, format string, args ...any) {
	for strings.HasPrefix(format, "\n") {
		t.WriteString("\n")
		format = format[1:]
	}
	s := diag.Safe(fmt.Sprintf(format, args...))
	if t.colour && style != "" {
		s = style + s + "\x1b[0m"
	}
	t.WriteString(s + "\n")
}

// Text renders the plan for a terminal: the flows first, the native change after.
func Text(p *Plan, colour bool) []byte {
	t := &texter{colour: colour}
	t.line(bold, "Plan %s for site %s: %s", p.ID, p.Site, Headline(p))
	t.flows(p)
	t.warnings(p)
	for i := range p.Points {
		t.point(&p.Points[i])
	}
	t.uncovered(p)
	t.rest(p)
	return t.Bytes()
}

func (t *texter) flows(p *Plan) {
	if len(p.Flows) == 0 {
		t.line("", "\nFlows: %s.", noFlows(p))
		return
	}
	t.line(bold, "\nFlows (exact)")
	for _, permit := range []bool{true, false} {
		title, sign, style := "  newly permitted", "+", green
		if !permit {
			title, sign, style = fmt.Sprintf("  newly denied (%s)", liveFlows(p)), "-", red
		}
		said := 0
		for _, g := range groupFlows(p.Flows, permit) {
			if said == 0 {
				t.line(bold, "%s", title)
			}
			if said >= maxFlows {
				said += len(g.Changes)
				continue
			}
			t.line(style, "  %s %s -> %s, by %s; at %s", sign, who(g.From, "anybody"), who(g.To, "anybody"), g.By, who(g.Points, "no point"))
			for i := range g.Changes {
				said++
				if said <= maxFlows {
					t.change(&g.Changes[i])
				}
			}
		}
		if said > maxFlows {
			t.line("", "  ... and %d more changes (all of them in -o json)", said-maxFlows)
		}
	}
}

// change writes the services of one change and the addresses that they concern.
func (t *texter) change(f *FlowChange) {
	t.line("", "      %s; for example %s -> %s %s", short(f.Services, 120), f.Witness.Src, f.Witness.Dst, f.Witness.Service)
	for k, s := range f.Sets {
		if k == maxSets {
			t.line("", "          ... and %d more sets (all of them in -o json)", len(f.Sets)-maxSets)
			break
		}
		t.line("", "          %s -> %s", short(s.Src, maxAddresses), short(s.Dst, maxAddresses))
	}
}

func (t *texter) warnings(p *Plan) {
	for _, f := range p.Tests.Failed {
		t.line(red, "test fails: %s", f)
	}
	for _, b := range p.Brakes {
		t.line(red, "brake %s: %s", b.Name, b.Saw)
	}
	for i := range p.Sources {
		t.line(red, "%s", p.Sources[i].String())
	}
	for _, c := range p.Conflicts {
		t.line(red, "conflict: %s", c.String())
	}
}

func (t *texter) point(pt *Point) {
	t.line(bold, "\nPoint %s (%s, %s): %s", pt.Name, pt.Device, pt.Mode, pt.Status)
	if pt.Error != "" {
		t.line(red, "  %s", pt.Error)
	}
	for _, r := range pt.Residue {
		t.line(red, "  not exact (%s): %s", r.Kind, r.Text)
	}
	if pt.Error != "" || pt.After == nil {
		return
	}
	style := ""
	if !pt.After.Proved {
		style = red
	}
	t.line(style, "  %s", proofText(pt))
	if d := driftText(pt); d != "" {
		t.line("", "  now: %s", d)
	}
	for _, f := range pt.After.Findings {
		if !f.Harmless {
			t.line(red, "  not proved: %s: %s", f.Object, f.Text)
		}
	}
	for _, f := range pt.Failsafe {
		t.line("", "  failsafe: %s", short(f, maxLine))
	}
	for _, e := range pt.Essential {
		t.line("", "  essential: %s", e)
	}
	for _, n := range pt.Notes {
		t.line("", "  note: %s", n)
	}
	usage := ""
	for _, u := range pt.Usage {
		usage += fmt.Sprintf(" %d %s,", u.Used, u.Resource)
	}
	if usage != "" {
		t.line("", "  holds%s", usage[:len(usage)-1])
	}
	if len(pt.Ops) > 0 {
		a, c, r := opCounts(pt.Ops)
		t.line("", "  native: %d to add, %d to change, %d to remove", a, c, r)
	}
	for i, op := range pt.Ops {
		if i == maxOps {
			t.line("", "    ... and %d more (all of them in -o json)", len(pt.Ops)-maxOps)
			break
		}
		t.line("", "    %s", opText(op))
	}
}

func (t *texter) uncovered(p *Plan) {
	if len(p.Uncovered) == 0 {
		t.line("", "\nCoverage: every flow that policy denies is dropped by some point.")
		return
	}
	t.line(bold, "\nUncovered: denied by policy, and no point can drop it")
	for i, u := range p.Uncovered {
		if i == maxUncovered {
			t.line("", "  ... and %d more (all of them in -o json)", len(p.Uncovered)-maxUncovered)
			break
		}
		t.line("", "  %s -> %s: %s (for example %s -> %s %s)", who(u.From, "others"), who(u.To, "others"), u.Reason, u.Src, u.Dst, packet.Services{{Lo: u.Service, Hi: u.Service}})
	}
}

func (t *texter) rest(p *Plan) {
	for _, w := range worth(p) {
		t.line("", "%s", w)
	}
	for _, w := range p.Warnings {
		t.line("", "warning: %s", w)
	}
	t.line("", "\n%d assets, %d groups, %d policies: %d classes, %d by %d shared rows and columns, %d distinct cells; %d tests passed",
		p.Classes.Assets, p.Classes.Groups, p.Classes.Policies, p.Classes.Classes, p.Classes.Rows, p.Classes.Cols, p.Classes.Cells, p.Tests.Passed)
}
