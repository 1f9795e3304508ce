package ovs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"bulkhead/pkg/lab"
)

// daemon is a program that serves the switch. It ends with the process that started it,
// also when that is killed.
type daemon struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file that holds what it says
	done chan struct{} // closed when it has ended
	err  error         // why, then
}

// start runs a program in a namespace, on one processor lest it reorder packets. The
// kernel kills the child of a thread that ends, so one thread starts it and waits for it.
func start(ns *lab.Namespace, log string, env []string, name string, args ...string) (*daemon, error) {
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer out.Close()
	d := &daemon{name: name, log: log, done: make(chan struct{})}
	d.cmd = exec.Command(path, args...)
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	// A process group of its own keeps an interrupt at the terminal from ending the switch
	// before those who use it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		defer close(d.done)
		d.err = ns.Do(func() error {
			err := lab.OnOneCPU(d.cmd.Start)
			started <- err
			if err != nil {
				return err
			}
			return d.cmd.Wait()
		})
		select { // the namespace could not be entered
		case started <- d.err:
		default:
		}
	}()
	if err := <-started; err != nil {
		<-d.done
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return d, nil
}

// stop ends it. It has nothing to lose: all that it keeps goes with the switch.
func (d *daemon) stop() {
	if d == nil {
		return
	}
	_ = d.cmd.Process.Kill() // it may have ended by itself
	<-d.done
}

// failure tells why it has ended; nil while it runs.
func (d *daemon) failure() error {
	select {
	case <-d.done:
	default:
		return nil
	}
	said, _ := os.ReadFile(d.log)
	if d.err == nil {
		return fmt.Errorf("%s has ended: %s", d.name, strings.TrimSpace(string(said)))
	}
	return fmt.Errorf("%s has ended: %w: %s", d.name, d.err, strings.TrimSpace(string(said)))
}

// find finds a program where administrators' are too: an ordinary PATH lacks them.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s here: install what scripts/install-test-deps.sh lists", name)
}

// patience bounds how long one step of the switch's may take: the machine may have other
// things to do.
const patience = time.Minute

// command runs a program of Open vSwitch's to its end and returns what it wrote.
func (s *Switch) command(ctx context.Context, input, name string, args ...string) (string, error) {
	path, err := find(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), s.env()...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return "", errors.Join(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String())), s.failure())
	}
	return out.String(), nil
}

// failure tells which of the switch's programs has ended; nil while all run.
func (s *Switch) failure() error {
	for _, d := range s.daemons {
		if err := d.failure(); err != nil {
			return err
		}
	}
	return nil
}

// until waits for something to come true.
func (s *Switch) until(ctx context.Context, what string, true func() bool) error {
	limit := time.Now().Add(patience)
	for !true() {
		if err := s.failure(); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s did not happen within %s", what, patience)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
