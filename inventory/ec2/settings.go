package ec2

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/aws/ec2api"
)

// Own stands among Settings.Roles for the account of the credentials themselves.
const Own = "own"

// FunctionMode says what is done about Lambda functions.
type FunctionMode string

// The modes.
const (
	FunctionsRead   FunctionMode = "read"   // they are reported
	FunctionsManage FunctionMode = "manage" // and marked as managed, for points that change their groups
	FunctionsOff    FunctionMode = "off"    // their interfaces are reported like other services'
)

// DefaultTimeout is how long the read of one part may take. Ten tries of a call whose
// answers do not come take five minutes; a region of ten thousand interfaces takes
// seconds.
const DefaultTimeout = 2 * time.Minute

// Settings say what of AWS a source reports. Only Regions must be given.
type Settings struct {
	Regions    []string
	Roles      []string // ARNs of roles to assume, one an account, or Own; none is Own
	ExternalID string   // for the trust policies of the roles
	VPCs       []string // only these; none is all
	Profile    string
	Endpoint   string
	Functions  FunctionMode // "" is FunctionsRead
	// ImageNames asks for the names of images, too; Public reports addresses that AWS
	// translates to private ones as addresses, and not only as an attribute.
	ImageNames, Public bool
	Labels             Labels
	Timeout            time.Duration // of one part; 0 is DefaultTimeout
	// HTTP and MaxBackoff are those of ec2api.Options, for tests.
	HTTP       *http.Client
	MaxBackoff time.Duration
}

// Part is one account and region. Its name does not depend on what AWS answers: what
// was known of it is found again also while nothing can be asked.
type Part struct {
	Name   string // "REGION", or "ACCOUNT/REGION" where a role is assumed
	Region string
	Role   string // "" for the credentials' own account
}

// Parts lists the parts in order of name.
func (s *Settings) Parts() []Part {
	roles := s.Roles
	if len(roles) == 0 {
		roles = []string{Own}
	}
	var out []Part
	for _, role := range roles {
		for _, region := range s.Regions {
			p := Part{Name: region, Region: region}
			if role != Own {
				p.Name, p.Role = ec2api.RoleAccount(role)+"/"+region, role
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Part) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Uses lists what the settings need IAM actions for, see ec2api.Policy: in every account,
// and in the credentials' own besides what it takes to assume roles.
func (s *Settings) Uses() (everywhere, own []ec2api.Use) {
	everywhere = []ec2api.Use{ec2api.Inventory}
	if s.ImageNames {
		everywhere = append(everywhere, ec2api.ImageNames)
	}
	switch s.Functions {
	case FunctionsOff:
	default:
		everywhere = append(everywhere, ec2api.Functions)
	}
	for _, r := range s.Roles {
		if r != Own {
			own = []ec2api.Use{ec2api.AssumeRole}
		}
	}
	return everywhere, own
}

var (
	regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)
	vpcID      = regexp.MustCompile(`^vpc-[0-9a-f]{8,17}$`)
)

// CheckRegion says what is wrong with the name of a region.
func CheckRegion(s string) error {
	if !regionName.MatchString(s) {
		return fmt.Errorf("%q is not the name of a region; they are like %q", s, "eu-central-1")
	}
	return nil
}

// CheckRole says what is wrong with a role.
func CheckRole(s string) error {
	if s != Own && ec2api.RoleAccount(s) == "" {
		return fmt.Errorf("%q is not the ARN of a role; write it like %q, or %q for the account of the credentials themselves", s, "arn:aws:iam::111122223333:role/bulkhead", Own)
	}
	return nil
}

// CheckRoles says what is wrong with the roles together: each account is read once, or
// its parts could not be told apart.
func CheckRoles(roles []string) error {
	seen := map[string]string{}
	for _, r := range roles {
		a := cmp.Or(ec2api.RoleAccount(r), r)
		if first, dup := seen[a]; dup {
			return fmt.Errorf("%q and %q are of one account; an account is read through one role", first, r)
		}
		seen[a] = r
	}
	return nil
}

// CheckVPC says what is wrong with the ID of a VPC.
func CheckVPC(s string) error {
	if !vpcID.MatchString(s) {
		return fmt.Errorf("%q is not the ID of a VPC; they are like %q", s, "vpc-0123456789abcdef0")
	}
	return nil
}

// Labels say which tags become labels, and how those are named.
type Labels struct {
	// Tags are the keys to take, each with the name of its label ("" makes one of the
	// key); nil takes every tag.
	Tags   map[string]string
	Prefix string // of the names that are made of keys
}

// ParseTag reads one of the tags to take: KEY or KEY=LABEL. A key that holds "=" itself
// is written with the label's name; the last "=" counts.
func ParseTag(s string) (key, label string, err error) {
	key = s
	if i := strings.LastIndexByte(s, '='); i >= 0 {
		key, label = s[:i], s[i+1:]
		if label == "" || labelName(label) != label {
			return "", "", fmt.Errorf("%q: the name of a label is made of letters, digits, and - _ . /, at most %d of them", s, inventory.MaxFieldName)
		}
	}
	if key == "" {
		return "", "", fmt.Errorf("%q names no tag; write KEY, or KEY=LABEL", s)
	}
	return key, label, nil
}

// CheckPrefix says what is wrong with the prefix of labels' names.
func CheckPrefix(s string) error {
	if labelName(s) != s || len(s) > inventory.MaxFieldName/2 {
		return fmt.Errorf("%q cannot begin the name of a label: those are made of letters, digits, and - _ . /; at most %d of them leave room for the rest", s, inventory.MaxFieldName/2)
	}
	return nil
}

// labelName makes the name of a label of the key of a tag: what a name may not hold
// becomes "_". "" if there is none, because the key is too long.
func labelName(key string) string {
	out := strings.Map(func(r rune) rune {
		if inventory.FieldNameRune(r) {
			return r
		}
		return '_'
	}, key)
	if len(out) > inventory.MaxFieldName {
		return ""
	}
	return out
}

// nameOf is the name of the label that a tag becomes; "" if it becomes none, although
// perhaps it is wanted.
func (l *Labels) nameOf(key string) (name string, wanted bool) {
	if l.Tags != nil {
		if name, wanted = l.Tags[key]; !wanted || name != "" {
			return name, wanted
		}
	}
	return labelName(l.Prefix + key), true
}
