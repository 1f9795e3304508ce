package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/drivers"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
)

// The exit codes, the same for every command.
const (
	exitDone    = 0
	exitError   = 1
	exitPending = 2 // changes pending, drift, not proved, or a failing test
	exitRefused = 3 // by a brake, a policy test or the proof
	exitPartial = 4 // applied in part
)

// exitError carries an exit code up to main. Its message may be empty where the
// command has said everything already.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

var errSaid = errors.New("")

func withCode(code int, err error) error { return &codedError{code, err} }

// stdio is where a command reads and writes. stdout carries the result, stderr
// everything else.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// app is what all commands share.
type app struct {
	stdio
	site  string
	state string
	now   func() time.Time
	kinds []driver.Kind
	// read is the site directory as it was read last, until the site is worked out from it.
	read *readSite
}

// readSite is a site directory, read.
type readSite struct {
	cfg   *config.Site
	diags *diag.List
}

// config reads the site directory: a command that looks for a daemon needs the site's
// name before it works the site out, and a large directory takes its time.
func (a *app) config() (*config.Site, *diag.List) {
	if a.read == nil {
		cfg, diags := config.Load(a.site)
		a.read = &readSite{cfg, diags}
	}
	return a.read.cfg, a.read.diags
}

// takeConfig gives what config has read, to somebody who changes it; the next one reads
// anew.
func (a *app) takeConfig(string) (*config.Site, *diag.List) {
	cfg, diags := a.config()
	a.read = nil
	return cfg, diags
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, io stdio) int {
	return runWith(ctx, args, io, drivers.Kinds())
}

// runWith is run with other drivers than there are.
func runWith(ctx context.Context, args []string, io stdio, kinds []driver.Kind) int {
	a := &app{stdio: io, now: time.Now, kinds: kinds}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code := exitError
	var coded *codedError
	if errors.As(err, &coded) {
		code = coded.code
	}
	if msg := err.Error(); msg != "" {
		// Errors quote devices and files; only our own line breaks reach the terminal.
		lines := strings.Split(msg, "\n")
		for i := range lines {
			lines[i] = diag.Safe(lines[i])
		}
		fmt.Fprintf(io.err, "bulkhead: %s\n", strings.Join(lines, "\n"))
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bulkhead",
		Short: "agentless microsegmentation, proved",
		Long: `bulkhead sorts what is on the network into groups and makes the equipment that is
already there enforce one group policy. Before it touches a device it proves that
what it would install permits exactly what the policy permits; after, it reads the
device back and proves it again.

Exit codes: 0 done, or nothing to do; 1 error; 2 changes pending (plan
--detailed-exitcode), drift or not proved (verify), a failing test (test) or probe, a damaged
log (audit verify); 3 refused by a brake, a policy test or the proof; 4 applied in part.

Start with:
  bulkhead init my-site && cd my-site && bulkhead plan`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	site := os.Getenv("BULKHEAD_SITE")
	if site == "" {
		site = "."
	}
	root.PersistentFlags().StringVar(&a.site, "site", site, "site directory (or BULKHEAD_SITE)")
	root.PersistentFlags().StringVar(&a.state, "state", os.Getenv("BULKHEAD_STATE"), "state directory (or BULKHEAD_STATE; default $XDG_STATE_HOME/bulkhead)")
	root.AddCommand(a.initCmd(), a.validateCmd(), a.assetsCmd(), a.groupsCmd(), a.explainCmd(), a.testCmd(),
		a.planCmd(), a.applyCmd(), a.confirmCmd(), a.rollbackCmd(), a.reconcileCmd(), a.serveCmd(), a.approveCmd(),
		a.quarantineCmd(), a.releaseCmd(), a.openCmd(), a.closeCmd(), a.bootCmd(), a.verifyCmd(), a.probeCmd(), a.flowsCmd(), a.renderCmd(), a.removeCmd(),
		a.historyCmd(), a.auditCmd(), a.backupCmd(), a.restoreCmd(),
		a.schemaCmd(), a.iamPolicyCmd(), a.enrolCmd(), a.versionCmd(), a.demoCmd())
	return root
}

// loaded reads and works out the site, and prints its diagnostics. collect asks
// the site's sources too.
func (a *app) loaded(ctx context.Context, collect bool) (*reconcile.Site, error) {
	if collect {
		s, err := a.load(ctx, nil)
		if err == nil {
			saySources(a.err, s)
		}
		return s, err
	}
	s, diags, err := reconcile.LoadWith(ctx, a.site, a.now(), a.kinds, reconcile.LoadOptions{Config: a.takeConfig, Quarantined: []reconcile.InQuarantine{a.quarantines}})
	if err != nil {
		return nil, err
	}
	if err := a.show(s, diags); err != nil {
		return nil, err
	}
	return s, nil
}

// show prints diagnostics; it is an error if one of them is.
func (a *app) show(s *reconcile.Site, diags *diag.List) error {
	if diags.Len() > 0 {
		if err := diags.Render(a.err, reconcile.Source(a.site, s)); err != nil {
			return err
		}
	}
	if diags.HasErrors() {
		return withCode(exitError, fmt.Errorf("the site directory %q has errors; nothing was written to any device", a.site))
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// outputFlag adds -o with the formats that a command has.
func outputFlag(cmd *cobra.Command, format *string, formats ...string) {
	*format = formats[0]
	usage := "output format: " + formats[0]
	for _, f := range formats[1:] {
		usage += ", " + f
	}
	cmd.Flags().StringVarP(format, "output", "o", formats[0], usage)
	inner := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		for _, f := range formats {
			if *format == f {
				if inner != nil {
					return inner(c, args)
				}
				return nil
			}
		}
		return fmt.Errorf("unknown output format %q: %s", *format, usage)
	}
}
