package controller

import (
	"context"
	"fmt"
	"strings"

	"bulkhead/pkg/probe"
	"bulkhead/pkg/reconcile"
)

// probes runs the site's probes, and gives the check that runs them again after a
// change: it fails for those that passed before and do not pass any more. nil is
// nothing to check.
func (c *Controller) probes(ctx context.Context, s *reconcile.Site) func(context.Context) error {
	list := s.Config.Settings.Probes
	if len(list) == 0 {
		return nil
	}
	c.say("running %d probes", len(list))
	before := probe.Run(ctx, list, probe.Options{})
	for _, r := range before {
		if !r.OK {
			c.say("probe %q (%s) fails already, and guards nothing: %s", r.Name, r.Target, r.Error)
		}
	}
	return func(ctx context.Context) error {
		c.say("running %d probes again", len(list))
		broken := probe.Compare(before, probe.Run(ctx, list, probe.Grace()))
		if len(broken) == 0 {
			return nil
		}
		var said []string
		for _, r := range broken {
			said = append(said, fmt.Sprintf("probe %q (%s) passed before and fails now: %s", r.Name, r.Target, r.Error))
		}
		return fmt.Errorf("%s", strings.Join(said, "; "))
	}
}

// both asks one check after the other; nil asks nobody.
func both(a, b func(context.Context) error) func(context.Context) error {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return func(ctx context.Context) error {
		if err := a(ctx); err != nil {
			return err
		}
		return b(ctx)
	}
}
