package demo

import (
	"context"
	"fmt"
	"time"
)

const (
	// shortTrial is how long the change waits at least that nobody confirms.
	shortTrial = 20 * time.Second
	// look is how often the demo looks whether it has gone back. netconfd counts the time of
	// a confirmed commit only while nobody has spoken to it for a second.
	look = 3 * time.Second
)

// playSwitch goes through the steps of the demo with a switch.
func (d *demo) playSwitch(ctx context.Context) error {
	for _, l := range []string{
		"Bulkhead demo: an HMI and two PLCs in one VLAN of one switch, isolated at its ports.",
		"Real: the kernel, the packets, the switch that forwards them (Open vSwitch), the NETCONF",
		"server that holds its configuration (netconfd) and the sshd before it.",
		"NOT REAL: no vendor's switch. The server speaks RFC 8519, which is not what vendors ship,",
		"and forwards nothing itself: a part of this program carries its lists into Open vSwitch.",
		"What a switch's hardware makes of a list is not shown. The devices know each other's",
		"MAC addresses beforehand.",
	} {
		fmt.Fprintln(d.opt.Out, l)
	}
	s := &switched{demo: d}
	for _, step := range []func(context.Context) error{s.layOut, s.enrol, s.planFirst, s.enforce, s.confirm, s.unconfirmed} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *switched) layOut(ctx context.Context) error {
	s.title("Start the switch and its server")
	if err := s.start(ctx); err != nil {
		return err
	}
	for i, d := range devices() {
		s.say("  swp%d  VLAN 1  %-6s %-11s %s", i+1, d.id, d.four, d.six)
	}
	s.say("It has no lists yet. Every device reaches every other one in every way, and no")
	s.say("gateway is between them that could stop it:")
	return s.compare(ctx, true)
}

func (s *switched) enrol(ctx context.Context) error {
	s.title("Take the switch's host key into the known ones")
	is, err := s.fingerprint()
	if err != nil {
		return err
	}
	text, errs, err := s.bulkhead(ctx, 0, "enrol", "sw1", "--fingerprint", is)
	if err != nil {
		return err
	}
	s.quote(text+errs, 6)
	return nil
}

func (s *switched) planFirst(ctx context.Context) error {
	s.title("Plan: one policy, what it changes, and the proof")
	s.say("The HMI may read the PLCs by S7 (tcp/102). Nothing else may pass between them.")
	text, _, err := s.bulkhead(ctx, 0, "plan")
	if err != nil {
		return err
	}
	s.whole(lines(text, "Plan ", "Point sw1", "not exact", "proved before apply", "holds ", "native:", "~ lists of port"))
	s.say("Lists keep no state, so there are flows of which they cannot say what policy says: the")
	s.say("plan enumerates them, and the point accepts these two kinds. The rest is proved exactly.")
	return s.load(ctx)
}

func (s *switched) enforce(ctx context.Context) error {
	s.title("Apply on trial")
	begin := time.Now()
	_, errs, err := s.bulkhead(ctx, 0, "apply", "--yes", "--accept", "first-enforcement", "--reason", "the demo", "--confirm-timeout", "4m")
	if err != nil {
		return err
	}
	s.whole(errs)
	if s.opt.Break != BreakNothing {
		s.say("(Behind the server's back the lists of the switch are changed first: the comparison must")
		s.say("find out.)")
	}
	s.say("It is in force, and goes back by itself unless it is confirmed. The PLCs do not reach each")
	s.say("other any more, in one VLAN, and the HMI reaches both:")
	if err := s.compare(ctx, false); err != nil {
		return err
	}
	// The next trial has to be long enough for the same on a slow machine.
	s.trial = max(shortTrial, (5 * time.Since(begin)).Round(time.Second))
	return nil
}

func (s *switched) confirm(ctx context.Context) error {
	s.title("Confirm")
	_, errs, err := s.bulkhead(ctx, 0, "confirm")
	if err != nil {
		return err
	}
	s.quote(errs, 4)
	if err := s.compare(ctx, false); err != nil {
		return err
	}
	return s.verified(ctx)
}

// unconfirmed puts a mistake on trial that nobody confirms.
func (s *switched) unconfirmed(ctx context.Context) error {
	s.title("Put a mistake on trial, and confirm nothing")
	s.say("Somebody writes opcua where s7 was. The PLCs speak no OPC UA.")
	if err := s.edit("policy.yaml", "services: s7,", "services: opcua,"); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	_, errs, err := s.bulkhead(ctx, 0, "apply", "--yes", "--confirm-timeout", s.trial.String())
	if err != nil {
		return err
	}
	begin := time.Now()
	s.whole(errs)
	s.say("It is in force: the HMI has lost its PLCs.")
	if err := s.compare(ctx, false); err != nil {
		return err
	}
	s.say("No process of Bulkhead runs from here on, and nobody confirms...")
	for {
		if err := wait(ctx, look); err != nil {
			return fmt.Errorf("the switch has not gone back: %w", err)
		}
		changed, err := s.follow.Sync(ctx)
		if err != nil {
			return err
		}
		if changed {
			break
		}
	}
	s.say("The server took the change back by itself, %.0f s later. The policy's file is put right:", time.Since(begin).Seconds())
	if err := s.edit("policy.yaml", "services: opcua,", "services: s7,"); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	if err := s.compare(ctx, false); err != nil {
		return err
	}
	_, errs, err = s.bulkhead(ctx, 0, "apply", "--yes")
	if err != nil {
		return err
	}
	s.whole(errs)
	text, _, err := s.bulkhead(ctx, 0, "history")
	if err != nil {
		return err
	}
	s.quote(text, 8)
	return s.verified(ctx)
}
