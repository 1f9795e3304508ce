// Package demo shows Bulkhead at work on a plant of network namespaces: it lays
// the plant out, lets the real program plan, apply and verify, sends real packets
// for every pair of machines and every service, and holds what arrived against
// the policy.
//
// What the policy says comes from the reference evaluator (policy.Decide), which
// shares no code with the compiler. What arrived comes from the receivers.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"bulkhead/pkg/lab"
)

// ErrDisagree is wrapped where packets and policy do not agree.
var ErrDisagree = errors.New("what arrived is not what policy says")

// The ways to break the ruleset before packets are compared, so that the
// comparison must fail. They are the demo's own test.
const (
	BreakNothing = ""
	BreakOpen    = "open"  // one map element more: a stranger counts as an HMI; with AWS one rule more; with a switch no lists
	BreakClose   = "close" // one map element less: an HMI is nobody; with AWS no rule in one group; with a switch nothing from the HMI
)

// Options of the demo.
type Options struct {
	Exe     string // the bulkhead program, which takes every step of the controller
	Out     io.Writer
	Err     io.Writer
	Keep    bool // leave the site and the state directory behind
	Verbose bool // show all that the program prints
	Break   string
	// AWS runs the demo with a cloud: a plant of namespaces and a simulated account.
	AWS bool
	// Switch runs the demo with a switch: three devices in one VLAN, filtered at their ports.
	Switch bool
	// Again is the command line (program first) that runs the demo once more, inside
	// namespaces of its own; nil is the one of this process.
	Again []string
}

// limit bounds the whole demo, on a slow machine too.
const limit = 5 * time.Minute

// Run runs the demo. It starts itself again in a user, mount and network
// namespace, so that it needs no privilege and touches nothing of the machine.
func Run(ctx context.Context, opt Options) error {
	switch opt.Break {
	case BreakNothing, BreakOpen, BreakClose:
	default:
		return fmt.Errorf("unknown way %q to break the ruleset: there are %q and %q", opt.Break, BreakOpen, BreakClose)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if opt.Switch {
		if opt.AWS {
			return fmt.Errorf("there is a demo with AWS and one with a switch, and none with both: run one after the other")
		}
		if err := checkNeeds(); err != nil {
			return err
		}
	}
	if !lab.Inside() {
		return again(ctx, opt)
	}
	if err := lab.EnterSandbox(); err != nil {
		return err
	}
	d, err := begin(opt)
	if err != nil {
		return err
	}
	if opt.AWS {
		err = d.playHybrid(ctx)
	} else if opt.Switch {
		err = d.playSwitch(ctx)
	} else if err = d.play(ctx); err == nil || errors.Is(err, ErrDisagree) {
		d.table()
	}
	err = errors.Join(err, d.end())
	took := time.Since(d.start).Round(100 * time.Millisecond)
	if err != nil {
		fmt.Fprintf(opt.Out, "\nThe demo failed after %s.\n", took)
		return err
	}
	what := "All of it agrees with the policy."
	switch {
	case opt.AWS:
		what += " The AWS of it was a simulation, the packets and the gateway were not."
	case opt.Switch:
		what += " The packets, the switch and its NETCONF server were real, and no vendor's."
	}
	fmt.Fprintf(opt.Out, "\n%s The whole demo took %s.\n", what, took)
	return nil
}

func again(ctx context.Context, opt Options) error {
	line := opt.Again
	if line == nil {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		line = append([]string{self}, os.Args[1:]...)
	}
	err := lab.Sandbox(ctx, lab.Command{Path: line[0], Args: line[1:], Stdin: os.Stdin, Stdout: opt.Out, Stderr: opt.Err})
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("the demo failed; it says above why: %w", err)
	}
	return err
}
