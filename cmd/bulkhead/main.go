// Command bulkhead is an agentless microsegmentation controller: it keeps an
// inventory, sorts it into groups, and makes the equipment that is there enforce
// one group policy, with a proof before and after every change.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}
