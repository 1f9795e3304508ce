package plan

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/packet"
)

//go:embed report.html
var reportHTML string

// HTML renders the plan as one self-contained page, fit to hand to a change
// board: no script, no reference to anything outside, everything escaped.
func HTML(p *Plan) ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{
		"safe":     diag.Safe,
		"who":      who,
		"short":    short,
		"proof":    proofText,
		"drift":    driftText,
		"op":       opText,
		"headline": func() string { return Headline(p) },
		"counts": func(pt Point) string {
			a, c, r := opCounts(pt.Ops)
			return fmt.Sprintf("%d to add, %d to change, %d to remove", a, c, r)
		},
		"service":        func(s uint32) string { return packet.Services{{Lo: s, Hi: s}}.String() },
		"permits":        func(want bool) []flowGroup { return groupFlows(p.Flows, want) },
		"sets":           func(f FlowChange) []FlowSet { return f.Sets[:min(len(f.Sets), maxSetsHTML)] },
		"more":           func(f FlowChange) int { return len(f.Sets) - maxSetsHTML },
		"worth":          func() []string { return append(worth(p), p.Warnings...) },
		"live":           func() string { return liveFlows(p) },
		"nothing":        func() string { return noFlows(p) },
		"abbreviate":     abbreviate,
		"uncoveredShown": func() int { return maxUncoveredHTML },
		"sources": func() (out []string) {
			for i := range p.Sources {
				out = append(out, p.Sources[i].String())
			}
			return out
		},
		"ref":    func(pt Point) *Point { return &pt },
		"first":  firstOps,
		"blocks": func() string { return p.Blocked() },
	}).Parse(reportHTML)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the report's template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("cannot render the plan as HTML: %w", err)
	}
	return b.Bytes(), nil
}

func firstOps(pt Point) []string {
	var out []string
	for i, op := range pt.Ops {
		if i == maxOps*5 {
			return append(out, fmt.Sprintf("... and %d more (all of them in the JSON form)", len(pt.Ops)-i))
		}
		out = append(out, opText(op))
	}
	return out
}
