package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

func (a *app) confirmCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm [APPLY]",
		Short: "make a change permanent that is on trial",
		Long: `Make the change permanent that "bulkhead apply" has put on trial. It is refused once
the devices have gone back to what they held before, and where what they hold on trial
is not what was proved.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.endWaiting(cmd.Context(), args, true) },
	}
}

// endWaiting confirms the apply that waits for it, or takes it back.
func (a *app) endWaiting(ctx context.Context, args []string, confirm bool) error {
	id := ""
	if len(args) > 0 {
		id = args[0]
	}
	if d, err := a.daemon(); err != nil {
		return err
	} else if d != nil {
		return a.endByDaemon(ctx, d, id, confirm)
	}
	s, err := a.loaded(ctx, true)
	if err != nil {
		return err
	}
	st, err := a.openState(s, "confirm")
	if err != nil {
		return err
	}
	defer st.Close()
	j, err := a.controller(st).WaitingFor(id, confirm)
	switch {
	case errors.Is(err, apply.ErrNothingOnTrial):
		return withCode(exitRefused, nothingOnTrial(err))
	case errors.Is(err, controller.ErrOtherTrial):
		return withCode(exitRefused, err)
	case err != nil:
		return err
	}
	done, err := a.controller(st).EndTrial(ctx, s, j, confirm)
	if done.State != "" && done.State != store.Running {
		fmt.Fprintf(a.err, "apply %s: %s\n", done.ID, done.State)
	}
	return trialExit(err)
}

func nothingOnTrial(err error) error {
	return fmt.Errorf("%w: \"bulkhead history\" tells what became of the last apply", err)
}

// trialExit turns how the end of a trial failed into an exit code.
func trialExit(err error) error {
	switch {
	case errors.Is(err, driver.ErrTooLate):
		return withCode(exitRefused, fmt.Errorf("too late: %w", err))
	case err != nil:
		return withCode(exitPartial, err)
	}
	return nil
}

// onTrial refuses where a change is still on trial.
func onTrial(err error) error {
	if errors.Is(err, controller.ErrOnTrial) {
		return withCode(exitRefused, err)
	}
	return err
}
