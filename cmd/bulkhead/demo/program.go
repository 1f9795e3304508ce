package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bulkhead/pkg/diag"
)

// bulkhead runs the program on the gateway and returns what it printed. It is an
// error if it ends with another exit code than want.
func (d *demo) bulkhead(ctx context.Context, want int, args ...string) (stdout, stderr string, err error) {
	d.say("$ bulkhead %s", strings.Join(shellWords(args), " "))
	defer d.patience("bulkhead " + args[0])()
	cmd := d.command(ctx, args)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = d.net.Gateway.Run(cmd)
	var exit *exec.ExitError
	code := 0
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		return "", "", fmt.Errorf("run %q: %w", d.opt.Exe, err)
	}
	if code != want {
		d.quote(out.String()+errs.String(), 60)
		return out.String(), errs.String(), fmt.Errorf("bulkhead %s ended with exit code %d, and %d was expected: %s",
			args[0], code, want, diag.Safe(lastLine(errs.String())))
	}
	return out.String(), errs.String(), nil
}

// command is the program with the demo's site and state.
func (d *demo) command(ctx context.Context, args []string) *exec.Cmd {
	line := append([]string{"--site", d.siteDir(), "--state", filepath.Join(d.dir, "state")}, args...)
	cmd := exec.CommandContext(ctx, d.opt.Exe, line...)
	cmd.Env = append(append(os.Environ(), "NO_COLOR=1"), d.env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// shellWords quotes arguments as one would type them.
func shellWords(args []string) []string {
	var out []string
	for _, a := range args {
		if strings.ContainsAny(a, " \"'") {
			a = "'" + a + "'"
		}
		out = append(out, a)
	}
	return out
}

// flowDiff is the part of a plan's text that says which flows change.
func flowDiff(text string) string {
	_, rest, ok := strings.Cut(text, "Flows (exact)\n")
	if !ok {
		return text
	}
	part, _, _ := strings.Cut(rest, "\n\n")
	return part
}

// patience prints a line every few seconds until it is stopped.
func (d *demo) patience(what string) (stop func()) {
	const every = 3 * time.Second
	begin := time.Now()
	tick := time.NewTicker(every)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				d.working("%s is at work for %.0f s", what, time.Since(begin).Seconds())
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
		<-ended
	}
}
