package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"

	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
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
	cfg, diags := a.config()
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

// quarantines tells which assets of a site are in quarantine.
func (a *app) quarantines(site string) ([]reconcile.Quarantine, error) {
	dir, err := store.Dir(a.state)
	if err != nil {
		return nil, err
	}
	st, err := readState(dir, site)
	if err != nil || st == nil {
		return nil, err
	}
	defer st.Close()
	return controller.Quarantines(st)
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
		fmt.Fprintln(a.err, diag.Safe(controller.Unfinished(j, a.now())))
	}
}

// controller works on a site whose state is open for writing.
func (a *app) controller(st *store.Store) *controller.Controller {
	c := &controller.Controller{Store: st, Now: a.now, Say: func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }}
	c.Who, c.From = who()
	return c
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// damaged tells whether a state cannot be read because it is not what was written.
func damaged(err error) bool {
	var lost *store.LostError
	var corrupt *store.CorruptError
	return errors.As(err, &lost) || errors.As(err, &corrupt)
}
