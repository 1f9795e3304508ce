package awstest_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No test leaves a goroutine behind: an endpoint that is closed is gone.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
