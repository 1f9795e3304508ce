package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// who names the person and the machine that a record is of. What sudo says is a
// hint of its own: the environment is the caller's.
func who() (person, host string) {
	person = fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil {
		person = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" && by != person {
		person += " (sudo: " + by + ")"
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown host"
	}
	return person, host
}

// siteName gives the site's name and its state directory for commands that need
// nothing else of the site: a mistake in a policy must not hide the history.
func (a *app) siteName() (name, dir string, err error) {
	cfg, diags := config.Load(a.site)
	if diags.HasErrors() && (cfg.Settings.Name == "" || cfg.Settings.Name == config.DefaultName) {
		if err := diags.Render(a.err, reconcile.Source(a.site, nil)); err != nil {
			return "", "", err
		}
		return "", "", fmt.Errorf("the site directory %q does not say which site's state is meant", a.site)
	}
	dir, err = store.Dir(a.state)
	return cfg.Settings.Name, dir, err
}

// openState opens the state of a site for writing, which keeps every other
// controller of the site out until it is closed.
func (a *app) openState(s *reconcile.Site, command string) (*store.Store, error) {
	dir, err := store.Dir(a.state)
	if err != nil {
		return nil, err
	}
	st, err := store.OpenWith(store.Options{Dir: dir, Site: s.Config.Settings.Name, Now: a.now, Command: "bulkhead " + command})
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was written to any device", err)
	}
	return st, nil
}

// readState opens the state of a site for reading; nil if there is none.
func readState(dir, site string) (*store.Store, error) {
	if !store.Exists(dir, site) {
		return nil, nil
	}
	return store.OpenReadOnly(dir, site)
}

// enforced tells which points have enforced before, and names applies that nobody
// ended.
func (a *app) enforced(s *reconcile.Site) (map[string]bool, error) {
	dir, err := store.Dir(a.state)
	if err != nil {
		return nil, err
	}
	site := s.Config.Settings.Name
	// Before the state is read: an apply that ends meanwhile is not unfinished.
	_, busy := store.Writer(dir, site)
	st, err := readState(dir, site)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return store.Enforced(dir, site)
	}
	defer st.Close()
	open, err := st.Unfinished()
	if err != nil {
		return nil, err
	}
	if !busy {
		a.nameUnfinished(open)
	}
	return st.Enforced()
}

func (a *app) nameUnfinished(open []store.Journal) {
	for _, j := range open {
		var points []string
		for _, c := range j.Changes {
			points = append(points, c.Point)
		}
		if left := j.Apply.Deadline.Sub(a.now()); !j.Apply.Deadline.IsZero() && left > 0 {
			fmt.Fprintln(a.err, diag.Safe(fmt.Sprintf("apply %s of %s (%s on %s) is on trial for another %s: confirm it (bulkhead confirm), take it back (bulkhead rollback) or wait",
				j.Apply.ID, j.Apply.Started.Format(time.RFC3339), j.Apply.Who, j.Apply.From, left.Round(time.Second))))
			continue
		}
		fmt.Fprintln(a.err, diag.Safe(fmt.Sprintf("apply %s of %s (%s on %s) was never finished: its controller ended before it could tell what became of %s; the next apply looks and says it in the history",
			j.Apply.ID, j.Apply.Started.Format(time.RFC3339), j.Apply.Who, j.Apply.From, strings.Join(points, ", "))))
	}
}

// settle ends the applies that a dead controller left, by what their points hold
// now. One with a point that this plan did not read stays as it is.
func (a *app) settle(st *store.Store, s *reconcile.Site, p *plan.Plan) error {
	open, err := st.Unfinished()
	if err != nil {
		return err
	}
	found := map[string]apply.Found{}
	for _, pt := range p.Points {
		if pt.State != "" {
			found[pt.Name] = apply.Found{Fingerprint: pt.State, Proved: pt.Before != nil && pt.Before.Proved}
		}
	}
	for _, j := range open {
		if unread(j, s, found) {
			a.nameUnfinished([]store.Journal{j})
			continue
		}
		done, err := apply.Settle(st, j, found)
		if err != nil {
			return err
		}
		person, host := who()
		if _, err := st.AppendAudit(store.Entry{Who: person, From: host, Action: "settle", Object: done.ID,
			Reason: "its controller ended before it could", Result: string(done.State)}); err != nil {
			return err
		}
		fmt.Fprintln(a.err, diag.Safe(fmt.Sprintf("apply %s was left unfinished by %s on %s; by what the devices hold it is %s:", done.ID, done.Who, done.From, done.State)))
		for _, r := range done.Results {
			fmt.Fprintln(a.err, diag.Safe(fmt.Sprintf("  point %s: %s%s", r.Point, r.State, because(r.Error))))
		}
	}
	return nil
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// unread tells whether an apply has a point of the site that nobody looked at.
func unread(j store.Journal, s *reconcile.Site, found map[string]apply.Found) bool {
	for _, c := range j.Changes {
		if _, ok := found[c.Point]; !ok && knownPoints(s, []string{c.Point}) == nil {
			return true
		}
	}
	return false
}

// damaged tells whether a state cannot be read because it is not what was written.
func damaged(err error) bool {
	var lost *store.LostError
	var corrupt *store.CorruptError
	return errors.As(err, &lost) || errors.As(err, &corrupt)
}
