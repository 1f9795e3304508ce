package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/pkg/store"
)

func (a *app) backupCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "write the site's state to a file, also while a controller runs; - is standard output",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			site, dir, err := a.siteName()
			if err != nil {
				return err
			}
			st, err := readState(dir, site)
			if err != nil {
				return err
			}
			if st == nil {
				return fmt.Errorf("there is no state of site %q in %q", site, dir)
			}
			defer st.Close()
			if args[0] == "-" {
				err = st.Backup(a.out)
			} else {
				err = backupTo(st, args[0])
			}
			if err != nil {
				return err
			}
			r := st.Verify("")
			fmt.Fprintf(a.err, "site %s backed up: %d audit entries, last hash %s\n", site, r.Entries, r.Hash)
			return nil
		},
	}
}

// backupTo never writes over a file: the backup that is there may be the one that
// will be needed. Native configuration is in it, so it is for its owner alone.
func backupTo(st *store.Store, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%q is there already: name another file, or remove it first", path)
	}
	if err != nil {
		return fmt.Errorf("cannot write the backup: %w", err)
	}
	err = errors.Join(st.Backup(f), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path)) // half a backup is none
	}
	return nil
}

func (a *app) restoreCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "put a backup in the place of the site's state; - is standard input",
		Long: `Read a backup whole, check all of it, and only then put it in the place of the site's
state. State that has what the backup lacks is replaced only with --force, and is kept
beside. No device is touched: the next plan compares them with the site as ever.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			site, dir, err := a.siteName()
			if err != nil {
				return err
			}
			var in io.Reader = a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("cannot read the backup: %w", err)
				}
				defer f.Close()
				in = f
			}
			person, host := who()
			done, err := store.Restore(in, store.Options{Dir: dir, Site: site, Now: a.now, Command: fmt.Sprintf("bulkhead restore, by %s on %s", person, host)}, force)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "site %s restored: %d audit entries, the backup's last hash is %s\n", done.Site, done.Entries, done.Backup)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also in the place of state that the backup does not continue")
	return cmd
}
