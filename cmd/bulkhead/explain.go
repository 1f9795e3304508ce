package main

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
	"bulkhead/pkg/reconcile"
)

type explanation struct {
	Src     string        `json:"src"`
	Dst     string        `json:"dst"`
	Service string        `json:"service"`
	Permit  bool          `json:"permit"`
	Self    bool          `json:"self"`
	Egress  explainedSide `json:"egress"`
	Ingress explainedSide `json:"ingress"`
	// Observed says what enforcing the observed policies would change.
	Observed string          `json:"observed,omitempty"`
	Points   []explainedPath `json:"points"`
	Overlays []string        `json:"overlays"`
}

type explainedSide struct {
	Address   string   `json:"address"`
	Assets    []string `json:"assets"`
	Groups    []string `json:"groups"`
	Class     int      `json:"class"`
	Permit    bool     `json:"permit"`
	DecidedBy string   `json:"decidedBy"`
}

type explainedPath struct {
	Point    string `json:"point"`
	Enforces bool   `json:"enforces"`
	Why      string `json:"why,omitempty"`
}

func (a *app) explainCmd() *cobra.Command {
	var format string
	var offline bool
	cmd := &cobra.Command{
		Use:   "explain SRC DST SERVICE",
		Short: "say what decides a flow, and which points enforce it",
		Long: `SRC and DST are assets or addresses, SERVICE is a name or a literal (tcp/443).
Of an asset with several addresses, one of the family that both ends have is taken;
of a service with several ranges, the first.`,
		Example: "  bulkhead explain hmi-3 plc-7 s7\n  bulkhead explain 10.0.4.20 2001:db8::7 tcp/443",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.explained(cmd.Context(), args, offline)
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "flow": e})
			}
			a.printExplanation(e)
			return nil
		},
	}
	outputFlag(cmd, &format, "text", "json")
	cmd.Flags().BoolVar(&offline, "offline", false, "only what the site's files say; no routes, no sources")
	return cmd
}

// explained explains a flow: of a running daemon by what is in force.
func (a *app) explained(ctx context.Context, flow []string, offline bool) (*explanation, error) {
	var d *client
	if !offline {
		d = a.reader(ctx)
	}
	var got struct{ Flow *explanation }
	q := url.Values{"src": {flow[0]}, "dst": {flow[1]}, "service": {flow[2]}}
	if ok, err := a.answered(ctx, d, pathOf("explain"), q, &got); ok {
		return got.Flow, err
	}
	s, err := a.loaded(ctx, !offline)
	if err != nil {
		return nil, err
	}
	devices, err := s.Devices(ctx, offline)
	if err != nil {
		return nil, err
	}
	defer reconcile.Close(devices)
	return explain(s, devices, flow[0], flow[1], flow[2])
}

func explain(s *reconcile.Site, devices []*reconcile.Device, from, to, service string) (*explanation, error) {
	srcs, err := addressesOf(s, from)
	if err != nil {
		return nil, err
	}
	dsts, err := addressesOf(s, to)
	if err != nil {
		return nil, err
	}
	ranges, err := serviceOf(s, service)
	if err != nil {
		return nil, err
	}
	src, dst, err := samefamily(srcs, dsts, ranges[0].Proto)
	if err != nil {
		return nil, err
	}
	f := policy.Flow{Src: src, Dst: dst, Proto: ranges[0].Proto, Num: ranges[0].Lo}
	d := s.World.Decide(f)
	point := packet.Point(f.Proto, f.Num)
	e := &explanation{Src: src.String(), Dst: dst.String(), Service: packet.Services{{Lo: point, Hi: point}}.String(), Permit: d.Permit, Self: d.Self,
		Egress: side(s, src, d.Egress), Ingress: side(s, dst, d.Ingress), Points: []explainedPath{}, Overlays: []string{}}
	if d.Shadow != d.Permit {
		e.Observed = fmt.Sprintf("enforcing the observed policies would make this %s: %s on egress, %s on ingress", verdictWord(d.Shadow), decidedBy(d.ShadowEgress), decidedBy(d.ShadowIngress))
	}
	for _, dev := range devices {
		for i := range dev.Points {
			e.onPoint(&dev.Points[i], f, point)
		}
	}
	return e, nil
}

// onPoint adds what one point has to do with the flow.
func (e *explanation) onPoint(p *compile.Point, f policy.Flow, service uint32) {
	ok, why := p.Covers(f.Src, f.Dst)
	e.Points = append(e.Points, explainedPath{p.Name, ok, why})
	for _, hook := range p.Hooks() {
		h := compile.FlowHeader(hook, p.Home(f.Src), f.Src, f.Dst, 40000, 40000, false)
		if p.Essential(h).Contains(service) {
			e.Overlays = append(e.Overlays, fmt.Sprintf("point %s, %s: essential traffic, passes whatever policy says", p.Name, hook))
		}
		if p.FailsafeServices(h).Contains(service) {
			e.Overlays = append(e.Overlays, fmt.Sprintf("point %s, %s: failsafe, passes whatever policy says", p.Name, hook))
		}
	}
}

func addressesOf(s *reconcile.Site, name string) ([]netip.Addr, error) {
	if addr, err := inventory.ParseAddr(name); err == nil {
		return []netip.Addr{addr}, nil
	}
	as := s.Inventory.Lookup(name)
	if as == nil {
		return nil, fmt.Errorf("%q is neither an asset nor an address%s", name, didYouMean(name, assetIDs(s.Inventory)))
	}
	var out []netip.Addr
	for _, p := range as.Addresses {
		out = append(out, p.Addr())
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("asset %q has no address", name)
	}
	return out, nil
}

func serviceOf(s *reconcile.Site, name string) ([]policy.Range, error) {
	var names []string
	for _, svc := range s.Config.Book.Services {
		names = append(names, svc.Name)
		if svc.Name == name {
			return svc.Ranges, nil
		}
	}
	ranges, err := config.ParseService(name)
	if err != nil {
		return nil, fmt.Errorf("service %q: %w%s", name, err, didYouMean(name, names))
	}
	return ranges, nil
}

// samefamily picks one address of each end, of one family.
func samefamily(srcs, dsts []netip.Addr, proto uint8) (src, dst netip.Addr, err error) {
	for _, a := range srcs {
		for _, b := range dsts {
			if a.Is4() == b.Is4() && !(proto == 58 && a.Is4()) && !(proto == 1 && a.Is6()) {
				return a, b, nil
			}
		}
	}
	return src, dst, fmt.Errorf("the two ends have no addresses of one family that the service can use")
}

func side(s *reconcile.Site, addr netip.Addr, d policy.Side) explainedSide {
	out := explainedSide{Address: addr.String(), Assets: []string{}, Groups: notNil(s.World.GroupsOf(addr)), Class: s.Matrix.ClassOf(addr), Permit: d.Permit, DecidedBy: decidedBy(d)}
	for i := range s.Inventory.Assets {
		if packet.AddrsOf(s.Inventory.Assets[i].Addresses...).Contains(addr) {
			out.Assets = append(out.Assets, s.Inventory.Assets[i].ID)
		}
	}
	return out
}

func decidedBy(d policy.Side) string {
	switch {
	case d.Policy != nil:
		return prove.Cite(d.Policy)
	case len(d.Isolating) > 0:
		return "the default: isolated by " + strings.Join(d.Isolating, ", ")
	}
	return "the default: nothing isolates this side"
}

func verdictWord(permit bool) string {
	if permit {
		return "permitted"
	}
	return "denied"
}

func (a *app) printExplanation(e *explanation) {
	w := a.out
	fmt.Fprintf(w, "%s -> %s %s: %s\n", e.Src, e.Dst, e.Service, strings.ToUpper(verdictWord(e.Permit)))
	if e.Self {
		fmt.Fprintln(w, "  an address to itself, or loopback, always passes")
		return
	}
	show := func(name string, s explainedSide) {
		fmt.Fprintf(w, "  %s side %s: %s by %s\n", name, s.Address, verdictWord(s.Permit), s.DecidedBy)
		fmt.Fprintf(w, "    assets: %s; groups: %s; class %d\n", diag.Safe(orDash(s.Assets)), orDash(s.Groups), s.Class)
	}
	show("egress", e.Egress)
	show("ingress", e.Ingress)
	if e.Observed != "" {
		fmt.Fprintf(w, "  %s\n", e.Observed)
	}
	for _, o := range e.Overlays {
		fmt.Fprintf(w, "  %s\n", o)
	}
	for _, p := range e.Points {
		switch {
		case p.Enforces: // what both sides say: every point on the path enforces the whole of it
			fmt.Fprintf(w, "  point %s is on the path and enforces it: %s\n", p.Point, verdictWord(e.Permit))
		case p.Why != "":
			fmt.Fprintf(w, "  point %s does not: %s\n", p.Point, p.Why)
		default:
			fmt.Fprintf(w, "  point %s does not see it\n", p.Point)
		}
	}
}

func orDash(s []string) string {
	if len(s) == 0 {
		return "-"
	}
	return strings.Join(s, " ")
}
