package session_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No test leaves a goroutine behind: a session that is lost must take its own with it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
