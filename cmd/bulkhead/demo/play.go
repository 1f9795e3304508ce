package demo

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

// play goes through the steps. It stops at the first that does not come out as it
// must.
func (d *demo) play(ctx context.Context) error {
	fmt.Fprintln(d.opt.Out, "Bulkhead demo: a plant of network namespaces, one Linux gateway, real packets.")
	fmt.Fprintln(d.opt.Out, "Nothing outside of these namespaces is touched.")
	live := &liveFlows{d: d}
	defer live.close()
	for _, step := range []func(context.Context, *liveFlows) error{
		d.layOut, d.planFirst, d.enforce, d.firstRound, d.spoof, d.changePolicy, d.moveAsset, d.tamperAndRepair,
		d.lockOut, d.daemonRepairs, d.emptied, d.expire, d.lookBack,
	} {
		if err := step(ctx, live); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) layOut(ctx context.Context, live *liveFlows) error {
	d.title("Lay the plant out")
	begin := time.Now()
	if err := d.build(ctx); err != nil {
		return err
	}
	d.say("%d machines in %d networks around one gateway, up in %.1f s:", len(d.net.Hosts()), len(plant()), time.Since(begin).Seconds())
	for i, c := range plant() {
		d.say("  eth%d %-8s %-13s %s", i+1, c.name, c.four+".0/24", strings.Join(c.assets, " "))
	}
	d.say("Nothing is enforced yet, so every packet must arrive. If it did not, the")
	d.say("rest would prove nothing.")
	if err := d.compare(ctx, "nothing enforced", true); err != nil {
		return err
	}
	d.say("Some connections are open now, and in each the server pushes and the client")
	d.say("is silent, as a PLC that reports its values does:")
	return live.open(ctx,
		liveFlow{name: "hmi-1 watches plc-11", client: "hmi-1", server: "plc-11", port: 102},
		liveFlow{name: "hmi-2 watches plc-21", client: "hmi-2", server: "plc-21", port: 102},
		liveFlow{name: "office-1 watches plc-12", client: "office-1", server: "plc-12", port: 102})
}

func (d *demo) planFirst(ctx context.Context, _ *liveFlows) error {
	d.title("Plan: what would change, and is it what the policy means?")
	text, _, err := d.bulkhead(ctx, 0, "plan")
	if err != nil {
		return err
	}
	d.quote(text, 12)
	d.say("A plan touches nothing. It says exactly which flows it would newly deny, and")
	d.say("it has proved that the ruleset it would install does that and nothing else.")
	return nil
}

func (d *demo) enforce(ctx context.Context, live *liveFlows) error {
	d.title("Apply: enforce for the first time")
	d.say("A first enforcement is a brake: it needs a word from the operator.")
	if _, errs, err := d.bulkhead(ctx, 3, "apply", "--yes", "--auto-confirm"); err != nil {
		return err
	} else {
		d.quote(errs, 4)
	}
	begin := time.Now()
	_, errs, err := d.bulkhead(ctx, 0, "apply", "--yes", "--auto-confirm", "--accept", "first-enforcement", "--reason", "the demo")
	if err != nil {
		return err
	}
	d.quote(errs, 8)
	d.say("The gateway watches for %s before it drops anything: connections that were", learn)
	d.say("open before it came are known then, and those that policy permits go on.")
	if err := wait(ctx, learn+500*time.Millisecond-time.Since(begin)); err != nil {
		return err
	}
	if err := live.mustStop(ctx, "office-1 watches plc-12"); err != nil {
		return err
	}
	if err := live.mustGoOn(ctx); err != nil {
		return err
	}
	d.say("")
	d.say("verify reads the kernel's ruleset back and works out what it lets through.")
	if err := d.verified(ctx); err != nil {
		return err
	}
	d.say("One connection more, now through the rules:")
	return live.open(ctx,
		liveFlow{name: "recorder-1 gets video from cam-1", client: "recorder-1", server: "cam-1", port: 6970, udp: true})
}

// verified runs verify, which must find nothing.
func (d *demo) verified(ctx context.Context) error {
	text, _, err := d.bulkhead(ctx, 0, "verify")
	if err == nil {
		d.quote(text, 4)
	}
	return err
}

func (d *demo) firstRound(ctx context.Context, _ *liveFlows) error {
	d.title("Send real packets, and ask the receivers")
	if d.opt.Break != BreakNothing {
		d.say("(Behind the controller's back one element of the ruleset is changed first: the")
		d.say("comparison must find out.)")
		if err := d.tamper(ctx, d.opt.Break); err != nil {
			return err
		}
	}
	d.say("Every machine sends to every other one across the gateway: each service that")
	d.say("the policy names, both ends of its range and one past it, and some that nobody")
	d.say("named; IPv4 and IPv6. A packet counts as permitted if its receiver got it.")
	return d.compare(ctx, "first policy", false)
}

func (d *demo) changePolicy(ctx context.Context, live *liveFlows) error {
	d.title("Change the policy")
	d.say("The office loses plain http; the maintainer gets the historian.")
	if err := d.edit("policy/plant.yaml", "    to: portal\n    services: [https, http]", "    to: portal\n    services: https"); err != nil {
		return err
	}
	if err := d.edit("policy/plant.yaml", "    from: maintainers\n    to: hmis", "    from: maintainers\n    to: [hmis, historian]"); err != nil {
		return err
	}
	d.say("The site's own tests still say otherwise, so there is no plan:")
	_, errs, err := d.bulkhead(ctx, 3, "plan")
	if err != nil {
		return err
	}
	d.quote(errs, 6)
	d.say("The tests are changed as well, because this is meant:")
	for _, e := range [][2]string{
		{"office reads the portal, from: office, to: portal, service: [https, http]", "office reads the portal, from: office, to: portal, service: https"},
		{"maintainer reaches no historian, from: ada, to: historian-1, service: any, expect: deny", "maintainer reaches the historian, from: ada, to: historian-1, service: https, expect: permit"},
	} {
		if err := d.edit("tests/others.yaml", e[0], e[1]); err != nil {
			return err
		}
	}
	text, _, err := d.bulkhead(ctx, 0, "plan")
	if err != nil {
		return err
	}
	d.say("The difference, in flows:")
	d.quote(flowDiff(text), 14)
	return d.applyAndCompare(ctx, live, "changed policy")
}

// applyAndCompare applies what the site says now, proves it and probes it.
func (d *demo) applyAndCompare(ctx context.Context, live *liveFlows, name string) error {
	if _, errs, err := d.bulkhead(ctx, 0, "apply", "--yes", "--auto-confirm"); err != nil {
		return err
	} else {
		d.quote(errs, 4)
	}
	if err := d.load(ctx); err != nil {
		return err
	}
	if err := live.mustGoOn(ctx); err != nil {
		return err
	}
	return d.compare(ctx, name, false)
}

func (d *demo) moveAsset(ctx context.Context, live *liveFlows) error {
	d.title("Move a machine out of its group while its connection is open")
	d.say("hmi-2 becomes a spare: one label changes in the inventory. Its connection to")
	d.say("plc-21 is open, and only the PLC talks. It must end; others must not notice.")
	if err := d.edit("inventory/plant.yaml", `labels: {cell: "2", role: hmi,`, `labels: {cell: "2", role: spare,`); err != nil {
		return err
	}
	for _, plc := range []string{"plc-21", "plc-22"} {
		old := fmt.Sprintf("{name: hmi-2 operates %s, from: hmi-2, to: %s, service: s7, expect: permit}", plc, plc)
		with := fmt.Sprintf("{name: hmi-2 is a spare for %s, from: hmi-2, to: %s, service: s7, expect: deny}", plc, plc)
		if err := d.edit("tests/cells.yaml", old, with); err != nil {
			return err
		}
	}
	if err := live.mustGoOn(ctx); err != nil {
		return err
	}
	d.say("Half of the group is gone by that, which a brake holds until somebody says it is meant:")
	if _, errs, err := d.bulkhead(ctx, 0, "apply", "--yes", "--auto-confirm", "--accept", "assets-lost", "--reason", "hmi-2 is a spare now"); err != nil {
		return err
	} else {
		d.quote(errs, 4)
	}
	if err := live.mustStop(ctx, "hmi-2 watches plc-21"); err != nil {
		return err
	}
	if err := live.mustGoOn(ctx); err != nil {
		return err
	}
	if err := d.load(ctx); err != nil {
		return err
	}
	return d.compare(ctx, "hmi-2 moved", false)
}

func (d *demo) lookBack(ctx context.Context, live *liveFlows) error {
	d.title("Ask why, and what was dropped")
	text, _, err := d.bulkhead(ctx, 0, "explain", "hmi-2", "plc-21", "s7")
	if err != nil {
		return err
	}
	d.quote(text, 8)
	text, _, err = d.bulkhead(ctx, 0, "flows")
	if err != nil {
		return err
	}
	d.say("What was dropped is remembered, by groups and service, each with a policy that")
	d.say("would permit it. Here are those that tried to operate a PLC:")
	d.quote(tried(text, "plcs", "tcp/102"), 8)
	return live.mustGoOn(ctx)
}

// tried picks the rows of `bulkhead flows` to a group and a service, with the
// heading, and of them the columns up to what dropped them.
func tried(text, to, service string) string {
	gap := regexp.MustCompile(` {2,}`)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i, l := range strings.Split(text, "\n") {
		f := gap.Split(l, -1)
		if len(f) > 5 && (i == 0 || f[3] == to && f[4] == service) {
			fmt.Fprintln(w, strings.Join(f[:6], "\t"))
		}
	}
	w.Flush()
	return b.String()
}

func wait(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
		return nil
	}
}
