package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
)

type enrolOptions struct {
	fingerprint string
	yes         bool
	replace     bool
}

func (a *app) enrolCmd() *cobra.Command {
	var o enrolOptions
	cmd := &cobra.Command{
		Use:   "enrol POINT",
		Short: "trust the host key of a point's device from now on",
		Long: `Ask the device of a point for its host key, show the key's fingerprint, and write the key
into the file of known ones that the point's settings name. It does not log in.

Nothing says that what answers is the device. Compare the fingerprint with what the
device says of itself on its console (show ssh server host-key, ssh-keygen -lf), or name
that with --fingerprint: then nothing is asked, and another key is refused.

A device that is enrolled and shows another key is refused: it is another device, or
somebody stands in between. --replace enrols its new key.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.enrol(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.fingerprint, "fingerprint", "", "the key's fingerprint, as the device itself tells it (SHA256:...)")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask: trust whatever answers")
	f.BoolVar(&o.replace, "replace", false, "instead of another key that is enrolled")
	return cmd
}

func (a *app) enrol(ctx context.Context, point string, o enrolOptions) error {
	if o.fingerprint != "" && !strings.HasPrefix(o.fingerprint, "SHA256:") {
		return fmt.Errorf("--fingerprint %q: a fingerprint begins with %q", o.fingerprint, "SHA256:")
	}
	p, kind, err := a.pointKind(point)
	if err != nil {
		return err
	}
	if kind.Enrol == nil {
		return fmt.Errorf("point %q: devices of driver %q have no host key", point, kind.Name)
	}
	e, err := kind.Enrol(ctx, p)
	if err != nil {
		return fmt.Errorf("point %q: %w", point, err)
	}
	fmt.Fprintf(a.out, "%s shows %s %s\n", diag.Safe(e.Address), diag.Safe(e.Key), diag.Safe(e.Fingerprint))
	switch {
	case o.fingerprint != "" && o.fingerprint != e.Fingerprint:
		return withCode(exitRefused, fmt.Errorf("point %q: that is not the key %s; nothing was enrolled", point, o.fingerprint))
	case slices.Contains(e.Known, e.Fingerprint):
		fmt.Fprintf(a.out, "point %s: that key is enrolled in %s\n", point, diag.Safe(e.File))
		return nil
	case len(e.Known) > 0 && !o.replace:
		return withCode(exitRefused, fmt.Errorf("point %q: %q has another key of it, %s; if the device's key was changed on purpose, repeat with --replace", point, e.File, strings.Join(e.Known, " and ")))
	case len(e.Known) > 0:
		fmt.Fprintf(a.out, "it replaces %s\n", strings.Join(e.Known, " and "))
	}
	switch {
	case o.fingerprint != "":
	case o.yes:
		fmt.Fprintln(a.err, "nobody compared the fingerprint")
	default:
		if err := a.ask(ctx, "Is that what the device says of itself, and to be trusted?"); err != nil {
			return err
		}
	}
	if err := e.Remember(o.replace); err != nil {
		return fmt.Errorf("point %q: %w", point, err)
	}
	fmt.Fprintf(a.out, "point %s: enrolled in %s\n", point, diag.Safe(e.File))
	return nil
}

// pointKind finds a point and its driver's kind. The site's files have to be right, and
// nothing is worked out from them.
func (a *app) pointKind(name string) (*config.Point, *driver.Kind, error) {
	cfg, diags := a.config()
	var names []string
	for i := range cfg.Settings.Points {
		p := &cfg.Settings.Points[i]
		names = append(names, p.Name)
		k := slices.IndexFunc(a.kinds, func(k driver.Kind) bool { return k.Name == p.Driver })
		if p.Name != name || k < 0 {
			continue
		}
		if keys := a.kinds[k].Settings; keys != nil {
			diags.Append(p.CheckSettings(keys))
		}
		if err := a.show(nil, diags); err != nil {
			return nil, nil, err
		}
		return p, &a.kinds[k], nil
	}
	if err := a.show(nil, diags); err != nil {
		return nil, nil, err
	}
	if slices.Contains(names, name) {
		return nil, nil, fmt.Errorf("point %q: there is no such driver", name)
	}
	return nil, nil, fmt.Errorf("there is no point %q%s", name, didYouMean(name, names))
}
