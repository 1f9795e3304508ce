package plan

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/packet"
)

// md escapes text for Markdown: nothing that came from a file or a device can
// open markup, a link or a line of its own.
func md(s string) string {
	s = diag.Safe(s)
	return strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;",
		"|", "\\|", "#", "\\#", "\n", " ", "!", "\\!", "~", "\\~", "&", "&amp;", "$", "\\$", "@", "&#64;", "://", "&#58;//", "www.", "www&#46;").Replace(s)
}

// Markdown renders the plan for a merge request or a ticket.
func Markdown(p *Plan) []byte {
	var b strings.Builder
	out := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	out("## Plan %s for site %s\n\n%s\n\n", md(p.ID), md(p.Site), md(Headline(p)))
	for _, f := range p.Tests.Failed {
		out("- **test fails**: %s\n", md(f))
	}
	for _, br := range p.Brakes {
		out("- **brake %s**: %s\n", md(br.Name), md(br.Saw))
	}
	for i := range p.Sources {
		out("- **source**: %s\n", md(p.Sources[i].String()))
	}
	for _, c := range p.Conflicts {
		out("- **conflict**: %s\n", md(c.String()))
	}
	flowTable(out, p)
	pointTable(out, p)
	uncoveredTable(out, p)
	notes(out, p)
	nativeChanges(out, p)
	out("%d assets, %d groups, %d policies, %d classes; %d tests passed. Policy %s, inventory %s.\n",
		p.Classes.Assets, p.Classes.Groups, p.Classes.Policies, p.Classes.Classes, p.Tests.Passed, md(abbreviate(p.PolicyHash)), md(abbreviate(p.InventoryHash)))
	return []byte(b.String())
}

// notes lists what keeps points from being proved or exact, and what else an
// operator should know.
func notes(out func(string, ...any), p *Plan) {
	var lines []string
	for i := range p.Points {
		pt := &p.Points[i]
		for _, r := range pt.Residue {
			lines = append(lines, fmt.Sprintf("%s is not exact (%s): %s", pt.Name, r.Kind, r.Text))
		}
		for _, n := range pt.Notes {
			lines = append(lines, fmt.Sprintf("%s: %s", pt.Name, n))
		}
		if pt.After == nil {
			continue
		}
		for _, f := range pt.After.Findings {
			if !f.Harmless {
				lines = append(lines, fmt.Sprintf("%s is not proved: %s: %s", pt.Name, f.Object, f.Text))
			}
		}
	}
	lines = append(lines, worth(p)...)
	for _, w := range p.Warnings {
		lines = append(lines, "warning: "+w)
	}
	if len(lines) == 0 {
		return
	}
	out("\n### Worth knowing\n\n")
	for _, l := range lines {
		out("- %s\n", md(l))
	}
}

func nativeChanges(out func(string, ...any), p *Plan) {
	if !slices.ContainsFunc(p.Points, func(pt Point) bool { return len(pt.Ops) > 0 }) {
		out("\n")
		return
	}
	out("\n<details><summary>Native changes</summary>\n\n")
	for i := range p.Points {
		for k, op := range p.Points[i].Ops {
			if k == maxOps {
				out("- %s: %d more in the JSON form\n", md(p.Points[i].Name), len(p.Points[i].Ops)-maxOps)
				break
			}
			out("- %s: %s\n", md(p.Points[i].Name), md(opText(op)))
		}
	}
	out("\n</details>\n\n")
}

// abbreviate shortens a digest for people.
func abbreviate(s string) string { return s[:min(12, len(s))] }

// flowTable lists the flow changes, one row each.
func flowTable(out func(string, ...any), p *Plan) {
	out("\n### Flows\n\n")
	if len(p.Flows) == 0 {
		out("None: %s.\n", noFlows(p))
	} else {
		out("| | from | to | services | by | at | example |\n|---|---|---|---|---|---|---|\n")
		for i := range p.Flows {
			if i == maxFlows {
				break
			}
			f := &p.Flows[i]
			sign := "− denied"
			if f.Permit {
				sign = "+ permitted"
			}
			out("| %s | %s | %s | %s | %s | %s | %s → %s %s |\n", sign, md(who(f.From, "anybody")), md(who(f.To, "anybody")), md(short(f.Services, 120)),
				md(f.By), md(who(f.Points, "-")), md(f.Witness.Src), md(f.Witness.Dst), md(f.Witness.Service))
		}
	}
	if len(p.Flows) > maxFlows {
		out("\n%d more in the JSON form.\n", len(p.Flows)-maxFlows)
	}
}

// pointTable lists the points.
func pointTable(out func(string, ...any), p *Plan) {
	out("\n### Points\n\n| point | device | mode | status | changes | proof |\n|---|---|---|---|---|---|\n")
	for i := range p.Points {
		pt := &p.Points[i]
		a, c, r := opCounts(pt.Ops)
		proof := proofText(pt)
		if pt.Error != "" {
			proof = pt.Error
		}
		out("| %s | %s | %s | %s | +%d ~%d −%d | %s |\n", md(pt.Name), md(pt.Device), md(pt.Mode), md(string(pt.Status)), a, c, r, md(proof))
	}
}

// uncoveredTable lists what policy denies and nothing drops.
func uncoveredTable(out func(string, ...any), p *Plan) {
	if len(p.Uncovered) > 0 {
		out("\n### Uncovered\n\nDenied by policy, and no point can drop it.\n\n| from | to | why | example |\n|---|---|---|---|\n")
		for i, u := range p.Uncovered {
			if i == maxUncovered {
				out("\n%d more in the JSON form.\n", len(p.Uncovered)-maxUncovered)
				break
			}
			out("| %s | %s | %s | %s → %s %s |\n", md(who(u.From, "others")), md(who(u.To, "others")), md(u.Reason), md(u.Src.String()), md(u.Dst.String()), md(packet.Services{{Lo: u.Service, Hi: u.Service}}.String()))
		}
	}
}
