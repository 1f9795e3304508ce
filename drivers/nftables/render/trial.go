package render

import (
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Names of what a table holds while a change of it is on trial. Names that are
// rendered otherwise have no slash.
const (
	// TrialSwitch is a set of packet families whose elements the kernel takes out when
	// the time of the trial is over. While it has them, packets go by the chains that
	// are on trial.
	TrialSwitch = "on_trial"
	// TrialPrefix begins the names of chains and sets that are on trial.
	TrialPrefix = "trial/"
	// TrialBase begins the names of base chains that only the state on trial has.
	TrialBase = "trial/at/"
)

// TrialSet is the switch, with elements that live for a time. Sets of so few bytes
// are bits to the kernel, but not those whose elements expire: a lookup hashes.
func TrialSet(timeout time.Duration) ruleset.Set {
	s := newSet(TrialSwitch, kindNfproto, ruleset.SetTimeout)
	s.Size = 16
	for _, f := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		s.Elements = append(s.Elements, ruleset.Element{Key: []byte{f}, Timeout: timeout})
	}
	return s
}

// TrialRule hands packets to a chain while the trial lasts; to none ("") where the
// state on trial has nothing in that place, and lets them pass.
func TrialRule(chain string) ruleset.Rule {
	then := accept()
	if chain != "" {
		then = goTo(chain)
	}
	return mustRule(in(TrialSwitch, false, metaNfproto), then)
}

// PolicyRule does what a base chain's policy does: a chain that is entered from
// another base chain has none of its own.
func PolicyRule(policy uint32) ruleset.Rule {
	if policy == policyAccept {
		return mustRule(accept())
	}
	return mustRule(drop())
}

func mustRule(frags ...frag) ruleset.Rule {
	r, err := rule("", frags...)
	if err != nil {
		panic("render: a rule of constants cannot be encoded: " + err.Error())
	}
	return r
}
