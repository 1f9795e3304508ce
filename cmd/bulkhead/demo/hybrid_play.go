package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bulkhead/drivers/aws/awstest"
)

// playHybrid goes through the steps of the demo with a cloud.
func (d *demo) playHybrid(ctx context.Context) error {
	out := d.opt.Out
	fmt.Fprintln(out, "Bulkhead demo: a plant behind a Linux gateway, and two VPCs of an AWS account.")
	fmt.Fprintln(out, "THE AWS ACCOUNT IS A SIMULATION inside this program (drivers/aws/awstest). No account is")
	fmt.Fprintf(out, "used. Lines that begin with %s tell what the simulation holds.\n", simulated)
	fmt.Fprintln(out, "Plant and gateway are network namespaces: their kernel and their packets are real.")
	h, err := beginHybrid(d)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		h.layOut, h.readInventory, h.planFirst, h.enforce, h.compareFirst, h.drift, h.changeClass, h.explainBoth,
	} {
		if err := step(ctx); err != nil {
			h.sums()
			return err
		}
	}
	h.sums()
	return nil
}

// simSay is say for what the simulation tells.
func (h *hybrid) simSay(format string, args ...any) { h.say(simulated+" "+format, args...) }

func (h *hybrid) layOut(context.Context) error {
	h.title("Lay out the plant, and the account")
	if err := h.build(); err != nil {
		return err
	}
	for i, c := range hybridCables() {
		h.say("  eth%d %-8s %-13s %s", i+1, c.name, c.four+".0/24", strings.Join(c.assets, " "))
	}
	h.say("eth5 and eth6 are the tunnels to the VPCs. A namespace at the address of each")
	h.say("instance receives what the gateway lets through; its security groups are simulated.")
	h.simSay("every instance carries a group that somebody made by hand; ssh from the")
	h.say("internet passes to %s.", strings.Join(h.e.exposed(), ", "))
	return mustHold(len(h.e.exposed()) > 0, "the simulated account exposes nothing: the demo has nothing to close")
}

func (h *hybrid) readInventory(ctx context.Context) error {
	h.title("Read the inventory: files for the plant, AWS for the cloud")
	h.e.w.ResetCalls()
	h.e.w.SparsePages(true) // as AWS may: pages that hold little, and one that holds nothing
	text, _, err := h.bulkhead(ctx, 0, "assets")
	h.e.w.SparsePages(false)
	if err != nil {
		return err
	}
	h.quote(text, 20)
	h.simSay("it took %d pages of answers; nothing was written.", h.e.asked())
	for _, name := range h.e.names() {
		if !strings.Contains(text, h.e.in[name].instance) {
			return mustHold(false, "the inventory lacks %s", name)
		}
	}
	return nil
}

func (h *hybrid) planFirst(ctx context.Context) error {
	h.title("Plan: which flows change, which calls that takes, and the proof")
	text, _, err := h.bulkhead(ctx, 0, "plan")
	if err != nil {
		return err
	}
	h.quote(lines(text, "Plan "), 1)
	_, cloud, _ := strings.Cut(text, "\nPoint cloud")
	cloud, _, _ = strings.Cut("Point cloud"+cloud, "\n\n")
	h.whole(lines(cloud, "Point cloud", "not exact", "proved before apply", "native:", "+ security group", "~ groups of"))
	for _, l := range strings.Split(cloud, "\n") {
		if i := strings.Index(l, "ours, "); i >= 0 {
			h.simSay("%s.", l[i+len("ours, "):])
		}
	}
	_, gw, _ := strings.Cut(text, "\nPoint gw")
	gw, _, _ = strings.Cut("Point gw"+gw, "\n\n")
	h.whole(lines(gw, "Point gw", "proved before apply", "native:"))
	h.say("The proof decodes every group on every interface, also those of others.")
	h.simSay("%d writes so far: a plan makes none.", sum(h.e.written()))
	return mustHold(sum(h.e.written()) == 0, "the plan wrote to the account: %v", h.e.written())
}

func (h *hybrid) enforce(ctx context.Context) error {
	h.title("Apply on trial, confirm, verify")
	_, errs, err := h.bulkhead(ctx, 3, "apply", "--yes")
	if err != nil {
		return err
	}
	h.quote(errs, 4)
	h.e.w.ResetCalls()
	_, errs, err = h.bulkhead(ctx, 0, "apply", "--yes", "--accept", "first-enforcement", "--reason", "the demo")
	if err != nil {
		return err
	}
	h.quote(errs, 8)
	h.simSay("%s.", calls(h.e.written()))
	h.say("It is on trial: unless it is confirmed the gateway goes back by itself, and the")
	h.say("groups are put back by the next pass of a controller.")
	_, errs, err = h.bulkhead(ctx, 0, "confirm")
	if err != nil {
		return err
	}
	h.quote(errs, 4)
	if err := wait(ctx, learn); err != nil { // the gateway drops from then on
		return err
	}
	if err := h.verified(ctx); err != nil {
		return err
	}
	h.simSay("ssh from the internet passes to %d instances.", len(h.e.exposed()))
	return mustHold(len(h.e.exposed()) == 0, "ssh from the internet still passes to %v", h.e.exposed())
}

func (h *hybrid) compareFirst(ctx context.Context) error {
	h.title("Hold every pair of machines against the policy")
	h.say("What the policy says comes from the reference evaluator, and from the tags as the")
	h.say("simulation has them. Between plant and cloud both ends have to say it, each alone.")
	if h.opt.Break != BreakNothing {
		h.say("(Behind the controller's back the simulated account is changed first: the comparison")
		h.say("must find out.)")
		h.e.tamper(h.opt.Break)
	}
	return h.compare(ctx, "first enforcement")
}

func (h *hybrid) drift(ctx context.Context) error {
	h.title("Open the cloud by hand, behind the controller's back")
	m := h.e.in["dashboard-1"]
	i, _ := h.e.r.Interface(m.eni)
	h.e.r.AddRules(i.Groups[0], false, awstest.RuleSpec{Protocol: "tcp", From: 22, CIDR: "0.0.0.0/0"})
	other := h.e.in["collector-1"]
	o, _ := h.e.r.Interface(other.eni)
	h.e.r.SetGroups(other.eni, append(slices.Clone(o.Groups), h.e.wizard)...)
	h.simSay("somebody authorises ssh from 0.0.0.0/0 in a group of ours, and attaches")
	h.say("his own group launch-wizard-1 to collector-1. ssh from the internet now passes to:")
	h.say("  %s", strings.Join(h.e.exposed(), ", "))
	if err := mustHold(len(h.e.exposed()) > 1, "what was opened by hand opens nothing"); err != nil {
		return err
	}
	text, _, err := h.bulkhead(ctx, 2, "verify")
	if err != nil {
		return err
	}
	h.whole(lines(text, "point ", "wrong:", "finding", "foreign"))
	if err := mustHold(strings.Contains(text, "0.0.0.0/0") || strings.Contains(text, "tcp/22"), "verify does not name what was opened"); err != nil {
		return err
	}
	h.say("The point has `exclusive: true`, so apply puts both right:")
	h.e.w.ResetCalls()
	if err := h.applied(ctx); err != nil {
		return err
	}
	h.simSay("ssh from the internet passes to %d instances; collector-1 carries %s.", len(h.e.exposed()), strings.Join(h.e.groupsOf("collector-1"), ", "))
	if err := mustHold(len(h.e.exposed()) == 0, "ssh from the internet still passes to %v", h.e.exposed()); err != nil {
		return err
	}
	return h.compare(ctx, "drift put back")
}

// applied applies, confirms, and tells which calls that took.
func (h *hybrid) applied(ctx context.Context, more ...string) error {
	_, errs, err := h.bulkhead(ctx, 0, append([]string{"apply", "--yes", "--auto-confirm"}, more...)...)
	if err != nil {
		return err
	}
	h.quote(errs, 4)
	h.simSay("%s.", calls(h.e.written()))
	return nil
}

func (h *hybrid) changeClass(ctx context.Context) error {
	h.title("Change what an instance is, by its tag")
	h.say("dashboard-2 becomes a collector. No file of the site changes:")
	h.e.retag("dashboard-2", "collector")
	h.simSay("the tag app of %s (dashboard-2) is now \"collector\".", h.e.in["dashboard-2"].instance)
	if err := h.judgeAnew(ctx); err != nil {
		return err
	}
	h.e.w.ResetCalls()
	h.say("Half of a group is gone by that, which a brake holds until somebody says it is meant:")
	if err := h.applied(ctx, "--accept", "assets-lost", "--reason", "dashboard-2 collects now"); err != nil {
		return err
	}
	if n := h.e.written()["ModifyNetworkInterfaceAttribute"]; n != 1 {
		return mustHold(false, "the instance was moved by %d calls, and one is enough", n)
	}
	h.say("One ModifyNetworkInterfaceAttribute moved it, with its final set of groups.")
	return h.compare(ctx, "dashboard-2 moved")
}

func (h *hybrid) explainBoth(ctx context.Context) error {
	h.title("Ask why, at both ends")
	text, _, err := h.bulkhead(ctx, 0, "explain", "historian-1", h.e.in["dashboard-2"].instance, "mqtts")
	if err != nil {
		return err
	}
	h.quote(text, 12)
	if err := mustHold(strings.Count(text, "enforces it: permitted") == 2, "explain does not show both ends"); err != nil {
		return err
	}
	return h.verified(ctx)
}

// whole is quote, with lines that are folded and not cut off: what is beyond their first
// words matters.
func (d *demo) whole(text string) {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		indent := l[:len(l)-len(strings.TrimLeft(l, " "))] + "    "
		for len(l) > 100 {
			at := strings.LastIndex(l[:100], " ")
			if at <= len(indent) {
				break
			}
			out, l = append(out, l[:at]), indent+l[at+1:]
		}
		out = append(out, l)
	}
	d.quote(strings.Join(out, "\n"), len(out))
}

// lines are those of a text that hold one of some words.
func lines(text string, words ...string) string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(l, w) }) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}

// calls says which writes were made.
func calls(m map[string]int) string {
	var out []string
	for _, a := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%d %s", m[a], a))
	}
	if len(out) == 0 {
		return "nothing was written"
	}
	return "written: " + strings.Join(out, ", ")
}
