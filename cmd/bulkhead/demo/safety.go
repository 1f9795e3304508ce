package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bulkhead/pkg/lab"
)

// trial is how long the demo's change waits to be confirmed. A site takes two minutes.
const trial = 8 * time.Second

// program starts the program on the gateway and leaves it running. What it prints may
// be read when it has ended.
func (d *demo) program(ctx context.Context, args ...string) (*exec.Cmd, *strings.Builder, error) {
	d.say("$ bulkhead %s &", strings.Join(shellWords(args), " "))
	cmd := d.command(ctx, args)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	return cmd, &text, d.net.Gateway.Start(cmd)
}

// lockOut applies a policy that cuts the operator off, with nobody left to help.
func (d *demo) lockOut(ctx context.Context, live *liveFlows) error {
	d.title("Lock the operator out, and kill the controller")
	d.say("The operator is logged in to the recorder, across the gateway:")
	if err := live.open(ctx, liveFlow{name: "mgmt-1 is logged in to recorder-1", client: "mgmt-1", server: "recorder-1", port: 22}); err != nil {
		return err
	}
	d.say("He adds a deny for that very connection, by mistake. No test of the site minds.")
	const deny = "  - {name: typo, from: mgmt, to: recorder, services: ssh, action: deny, tier: emergency}\n"
	if err := d.append("policy/plant.yaml", deny); err != nil {
		return err
	}
	begin := time.Now()
	cmd, _, err := d.program(ctx, "apply", "--yes", "--confirm-timeout", trial.String())
	if err != nil {
		return err
	}
	// It is killed, not stopped, once the change is in the kernel.
	for !d.onTrial(ctx) {
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		if time.Since(begin) > time.Minute {
			return fmt.Errorf("the change is not on trial after a minute")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_ = cmd.Wait() // it was killed
	armed := time.Now()
	d.say("(killed with SIGKILL; no process of Bulkhead is alive from here on)")
	if err := live.mustStop(ctx, "mgmt-1 is logged in to recorder-1"); err != nil {
		return err
	}
	f := live.find("mgmt-1 is logged in to recorder-1")
	f.ended = false
	d.say("Nobody can confirm now. The kernel waits until the time is over...")
	for {
		n, err := f.flow.During(ctx, 300*time.Millisecond)
		if err != nil {
			return err
		}
		if n > 0 {
			break
		}
		if time.Since(armed) > trial+30*time.Second {
			d.tally("live flows", true, false)
			return fmt.Errorf("%w: the operator's connection did not come back", ErrDisagree)
		}
	}
	d.tally("live flows", true, true)
	d.say("The same TCP connection goes on %.1f s after the kill: the kernel went back by itself.", time.Since(armed).Seconds())
	if err := d.edit("policy/plant.yaml", deny, ""); err != nil {
		return err
	}
	d.say("The typo is taken out, and the next apply finds what was left and tidies up:")
	return d.applyAndCompare(ctx, live, "after the lock-out")
}

func (d *demo) onTrial(ctx context.Context) bool {
	cmd := exec.CommandContext(ctx, "nft", "list", "set", "inet", table, "on_trial")
	return d.net.Gateway.Run(cmd) == nil
}

// append adds a text to a file of the site.
func (d *demo) append(file, text string) error {
	f, err := os.OpenFile(filepath.Join(d.siteDir(), file), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("edit the site: %w", err)
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (l *liveFlows) find(name string) *liveFlow {
	for _, f := range l.flows {
		if f.name == name {
			return f
		}
	}
	return nil
}

// daemonRepairs lets the daemon find a hole that somebody made.
func (d *demo) daemonRepairs(ctx context.Context, live *liveFlows) error {
	d.title("Let the daemon put drift right")
	begin := time.Now()
	cmd, text, err := d.program(ctx, "serve")
	if err != nil {
		return err
	}
	stop := func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return cmd.Wait()
	}
	if err := d.untilSync(ctx, begin); err != nil {
		_ = stop()
		d.quote(text.String(), 20)
		return err
	}
	d.say("It watches. Somebody adds the stranger to the HMIs once more, in the kernel:")
	hole := lab.Probe{From: stranger, Dst: d.net.Addr("plc-11", true), Proto: 6, Num: 102}
	if err := d.tamper(ctx, BreakOpen); err != nil {
		return err
	}
	begin = time.Now()
	for {
		got, err := d.prober.Run(ctx, []lab.Probe{hole}, lab.ProbeOptions{})
		if err != nil {
			return err
		}
		if !got[0].Got {
			break
		}
		if time.Since(begin) > 30*time.Second {
			_ = stop()
			d.quote(text.String(), 20)
			return fmt.Errorf("%w: the daemon left a hole open", ErrDisagree)
		}
	}
	d.say("%.1f s later the stranger's packets are dropped again. The daemon ends, and", time.Since(begin).Seconds())
	d.say("what it enforced stays:")
	if err := d.untilSync(ctx, begin); err != nil {
		return err
	}
	if err := stop(); err != nil {
		d.quote(text.String(), 20)
		return fmt.Errorf("the daemon did not stop as it should: %w", err)
	}
	if err := d.verified(ctx); err != nil {
		return err
	}
	return live.mustGoOn(ctx)
}

// untilSync waits until the daemon has found, after a time, that all is what it has to
// be.
func (d *demo) untilSync(ctx context.Context, after time.Time) error {
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		if s, err := d.status(ctx); err == nil && s.Result == "in sync" && s.At.After(after) && len(s.Trouble) == 0 {
			return nil
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the daemon is not in sync after a minute")
}

// expiresIn leaves the slowest machine time to apply the policy and look at it.
const expiresIn = 25 * time.Second

// expire lets a policy end while nobody is there.
func (d *demo) expire(ctx context.Context, live *liveFlows) error {
	d.title("Let a policy expire with no controller alive")
	at := time.Now().Add(expiresIn).UTC().Truncate(time.Second)
	d.say("A visitor in the office may reach the portal on tcp/8555 until %s:", at.Local().Format(time.TimeOnly))
	const name = "visitor"
	line := fmt.Sprintf("  - {name: %s, from: office, to: portal, services: tcp/8555, action: allow, tier: emergency, expires: %q}\n", name, at.Format(time.RFC3339))
	if err := d.append("policy/plant.yaml", line); err != nil {
		return err
	}
	if _, errs, err := d.bulkhead(ctx, 0, "apply", "--yes", "--auto-confirm"); err != nil {
		return err
	} else {
		d.quote(errs, 2)
	}
	p := lab.Probe{From: "office-1", Dst: d.net.Addr("portal-1", true), Proto: 6, Num: 8555}
	for _, want := range []bool{true, false} {
		got, err := d.prober.Run(ctx, []lab.Probe{p}, lab.ProbeOptions{})
		if err != nil {
			return err
		}
		if time.Now().Before(at) != want {
			return fmt.Errorf("the machine is too slow for this step: the policy expired before it could be looked at")
		}
		d.tally("expiring policy", want, got[0].Got)
		if got[0].Got != want {
			return fmt.Errorf("%w: office-1 -> portal-1 tcp/8555: arrived %v, want %v", ErrDisagree, got[0].Got, want)
		}
		if !want {
			break
		}
		d.say("Its packets arrive. No process of Bulkhead runs until then...")
		if err := wait(ctx, time.Until(at)+200*time.Millisecond); err != nil {
			return err
		}
	}
	d.say("They do not arrive any more: the kernel ended the policy on its second.")
	if err := d.edit("policy/plant.yaml", line, ""); err != nil {
		return err
	}
	return live.mustGoOn(ctx)
}

// The phones come from an export of somebody else's.
const (
	phonesFile = "inventory/phones.csv"
	phonesHead = "id,kind,addresses,labels.role\n"
)

// emptied lets an export of the inventory come out empty.
func (d *demo) emptied(ctx context.Context, live *liveFlows) error {
	d.title("Empty a part of the inventory")
	d.say("Ten phones come from an export. Then the export has a bad morning: the file has")
	d.say("its heading, and nothing else.")
	list := phonesHead
	for i := range 10 {
		list += fmt.Sprintf("phone-%d,iot,10.0.4.%d,phone\n", i, 200+i)
	}
	policy := "groups:\n  phones: {where: 'labels.role == \"phone\"'}\npolicies:\n  - {name: phones-resolve, from: phones, to: dns-servers, services: tcp/853, action: allow}\n"
	if err := os.WriteFile(filepath.Join(d.siteDir(), "policy", "phones.yaml"), []byte(policy), 0o644); err != nil {
		return err
	}
	file := filepath.Join(d.siteDir(), phonesFile)
	if err := os.WriteFile(file, []byte(list), 0o644); err != nil {
		return err
	}
	if _, _, err := d.bulkhead(ctx, 0, "apply", "--yes", "--auto-confirm"); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(phonesHead), 0o644); err != nil {
		return err
	}
	_, errs, err := d.bulkhead(ctx, 3, "apply", "--yes", "--auto-confirm")
	if err != nil {
		return err
	}
	if !strings.Contains(errs, "assets-lost") {
		return fmt.Errorf("no brake held the emptied inventory: %s", lastLine(errs))
	}
	d.quote(errs[strings.Index(errs, "bulkhead: a brake"):], 4)
	d.say("Nothing was touched: the phones can still resolve.")
	if err := os.WriteFile(file, []byte(list), 0o644); err != nil {
		return err
	}
	return live.mustGoOn(ctx)
}
