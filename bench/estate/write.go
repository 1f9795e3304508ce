package estate

import (
	"fmt"
	"os"
	"path/filepath"
)

// Files is the site as the files of a site directory, by name relative to it.
func (e *Estate) Files() map[string][]byte {
	out := map[string][]byte{assetsFile: e.csv()}
	for name, text := range e.policyText {
		out[name] = []byte(text)
	}
	return out
}

// WriteSite writes the site into a directory, which need not exist.
func (e *Estate) WriteSite(dir string) error {
	for name, data := range e.Files() {
		path := filepath.Join(dir, filepath.FromSlash(name))
		// Nobody else may write a site, or the loader refuses it.
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make a directory for %q: %w", name, err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("write %q: %w", name, err)
		}
	}
	return nil
}
