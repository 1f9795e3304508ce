package aws

import (
	"fmt"
	"net/http"
	"time"
)

// AWS's quotas for a new account (VPC user guide, "Amazon VPC quotas"): no call of EC2 tells
// an account's own.
const (
	DefaultRules  = 60
	DefaultGroups = 5
	// maxProduct is the most that AWS grants of rules times groups; maxGroups of groups.
	maxProduct = 1000
	maxGroups  = 16
)

// Settings say which account and region a driver programs, and how.
type Settings struct {
	Region, Role, ExternalID, Profile, Endpoint string
	// VPCs are those whose interfaces may be changed; none is all.
	VPCs []string
	// Exclusive lets groups of others be taken off the interfaces that points protect; what
	// was there is written into a tag and put back when an interface is let go.
	Exclusive bool
	// Functions lets the groups of Lambda functions that points protect be changed.
	Functions bool
	// References lets rules name the groups of peers instead of their addresses.
	References bool
	// RulesPerGroup and GroupsPerInterface are the account's quotas; 0 is AWS's default.
	RulesPerGroup, GroupsPerInterface int
	// Patience is how long a write may take to be seen, and a group to be let go of; 0 is two
	// minutes. Pause is between two looks; 0 is a second.
	Patience, Pause time.Duration
	// HTTP and MaxBackoff are those of ec2api.Options, for tests.
	HTTP       *http.Client
	MaxBackoff time.Duration
}

// Check says what is wrong with the settings.
func (s *Settings) Check() error {
	l := s.limits()
	switch {
	case s.Region == "":
		return fmt.Errorf("%q is missing: name the region, like %q", "region", "eu-central-1")
	case l.Rules < 1 || l.Groups < 1 || l.Groups > maxGroups:
		return fmt.Errorf("%d rules in a group and %d groups on an interface: AWS grants at least one of each, and at most %d groups", l.Rules, l.Groups, maxGroups)
	case l.Rules*l.Groups > maxProduct:
		return fmt.Errorf("%d rules in a group times %d groups on an interface are %d; AWS grants at most %d", l.Rules, l.Groups, l.Rules*l.Groups, maxProduct)
	}
	return nil
}

func (s *Settings) limits() Limits {
	l := Limits{Rules: s.RulesPerGroup, Groups: s.GroupsPerInterface, Exclusive: s.Exclusive}
	if l.Rules == 0 {
		l.Rules = DefaultRules
	}
	if l.Groups == 0 {
		l.Groups = DefaultGroups
	}
	return l
}

func (s *Settings) patience() time.Duration {
	if s.Patience == 0 {
		return 2 * time.Minute
	}
	return s.Patience
}

func (s *Settings) pause() time.Duration {
	if s.Pause == 0 {
		return time.Second
	}
	return s.Pause
}
