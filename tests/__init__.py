"""The tests, as a package: spylls, which checks spelling, installs a package of this name, too, and would be found first."""
