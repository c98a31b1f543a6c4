"""Becoming another user. Called in a worker, before a line of the application runs."""

import grp
import os
import pwd


def become(user: str | None, group: str | None) -> None:
    """Takes the identity of `user` and `group`, names or numbers, with the user's other groups."""
    name, uid, gid = _user(user) if user is not None else (None, os.geteuid(), os.getegid())
    if group is not None:
        gid = _group(group)
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    if name is not None:
        os.initgroups(name, gid)
    elif os.geteuid() == 0:
        os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


def _user(user: str) -> tuple[str | None, int, int]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise LookupError(f"there is no user {user!r}") from None
        try:
            entry = pwd.getpwuid(int(user))
        except KeyError:
            # A number without a name, as in many containers: it has no other groups.
            return None, int(user), os.getegid()
    return entry.pw_name, entry.pw_uid, entry.pw_gid


def _group(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if not group.isdecimal():
            raise LookupError(f"there is no group {group!r}") from None
        return int(group)
