package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// masked is what a secret shows of itself.
const masked = "***"

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 1 << 20

// SecretKind says where a secret is.
type SecretKind string

// The places of secrets.
const (
	SecretFile       SecretKind = "file"       // a path
	SecretEnv        SecretKind = "env"        // an environment variable
	SecretCredential SecretKind = "credential" // a systemd credential (systemd.exec(5), LoadCredential=)
)

// Secret says where a secret is. It never holds the secret itself; Resolve
// fetches it. It prints as *** in every verb, in JSON and in YAML.
type Secret struct {
	kind SecretKind
	ref  string
}

// NewSecret returns a reference to a secret.
func NewSecret(kind SecretKind, ref string) Secret { return Secret{kind, ref} }

// Ref says where the secret is. That is not secret, and messages may name it.
func (s Secret) Ref() (SecretKind, string) { return s.kind, s.ref }

// Resolve fetches the secret. Env looks up an environment variable, like
// os.LookupEnv. A single trailing line end is dropped. Its errors name the
// place, never the contents.
func (s Secret) Resolve(env func(string) (string, bool)) (Value, error) {
	switch s.kind {
	case SecretEnv:
		v, ok := env(s.ref)
		if !ok || v == "" {
			return Value{}, fmt.Errorf("environment variable %q, which holds a secret, is not set", s.ref)
		}
		return NewValue(v), nil
	case SecretCredential:
		dir, ok := env("CREDENTIALS_DIRECTORY")
		if !ok || dir == "" {
			return Value{}, fmt.Errorf("credential %q: the service manager gave no credentials; see LoadCredential= in systemd.exec(5)", s.ref)
		}
		if s.ref != filepath.Base(s.ref) || s.ref == ".." || s.ref == "." {
			return Value{}, fmt.Errorf("credential %q is not a credential's name", s.ref)
		}
		return readSecret(filepath.Join(dir, s.ref))
	case SecretFile:
		return readSecret(s.ref)
	}
	return Value{}, errors.New("no secret is named")
}

func readSecret(path string) (Value, error) {
	f, err := os.Open(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return Value{}, fmt.Errorf("read the secret in %q: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return Value{}, fmt.Errorf("read the secret in %q: %w", path, err)
	case len(b) > maxSecret:
		return Value{}, fmt.Errorf("the secret in %q is larger than %d bytes", path, maxSecret)
	}
	v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if v == "" {
		return Value{}, fmt.Errorf("the secret in %q is empty", path)
	}
	return NewValue(v), nil
}

// Format prints *** whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, masked) }

// MarshalText gives *** to encoders of text, JSON among them.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalYAML gives *** to YAML encoders.
func (Secret) MarshalYAML() (any, error) { return masked, nil }

// Value is a resolved secret. It prints as *** in every verb, in JSON and in
// YAML; Reveal is the only way to its contents. The text is behind a function
// because fmt does not ask the methods of unexported fields: a struct that keeps
// a Value in one would print it.
type Value struct{ reveal func() string }

// NewValue wraps a secret text.
func NewValue(text string) Value { return Value{func() string { return text }} }

// Reveal returns the secret, for the one call that needs it.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// Format prints *** whatever the verb.
func (Value) Format(f fmt.State, _ rune) { io.WriteString(f, masked) }

// MarshalText gives *** to encoders of text, JSON among them.
func (Value) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalYAML gives *** to YAML encoders.
func (Value) MarshalYAML() (any, error) { return masked, nil }
