package ec2api

import (
	"testing"

	"go.uber.org/goleak"
)

// No test leaves a goroutine behind: in a daemon that runs for years each would stay.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
