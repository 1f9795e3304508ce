package demo

import (
	"fmt"
	"text/tabwriter"
)

// table prints, over all rounds, what was probed and what became of it.
func (d *demo) table() {
	if len(d.rounds) == 0 {
		return
	}
	sum := map[string]*row{}
	var order []string
	for _, r := range d.rounds {
		for _, x := range r.rows {
			if sum[x.service] == nil {
				sum[x.service] = &row{service: x.service}
				order = append(order, x.service)
			}
			t := sum[x.service]
			t.probed += x.probed
			t.permits += x.permits
			t.arrived += x.arrived
			t.differ += x.differ
		}
	}
	fmt.Fprintf(d.opt.Out, "\nWhat was probed, and what policy says (%d rounds, every pair of machines, IPv4 and IPv6)\n\n", len(d.rounds))
	w := tabwriter.NewWriter(d.opt.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(t *row) {
		verdict := "agrees"
		if t.differ > 0 {
			verdict = fmt.Sprintf("%s WRONG", count(t.differ))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", t.service, count(t.probed), count(t.permits), count(t.arrived),
			count(t.probed-t.permits), count(t.probed-t.arrived), verdict)
	}
	fmt.Fprintln(w, "SERVICE\tPROBED\tPOLICY PERMITS\tARRIVED\tPOLICY DROPS\tDROPPED\t\t")
	total := &row{service: "all"}
	for _, name := range order {
		t := sum[name]
		total.probed += t.probed
		total.permits += t.permits
		total.arrived += t.arrived
		total.differ += t.differ
		line(t)
	}
	for _, f := range d.flows {
		line(&row{service: f.what, probed: f.seen, permits: f.want, arrived: f.got, differ: f.differ})
		total.differ += f.differ
	}
	line(total)
	w.Flush()
}
