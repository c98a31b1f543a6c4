"""User and group of a worker, changed before any code of the application runs."""

import grp
import os
import pwd


class UnusableIdentity(LookupError):
    """A value of `user` or `group` that names none; the server adds where it comes from."""

    def __init__(self, setting: str, value: str, problem: str) -> None:
        super().__init__(f"{setting} = {value}: {problem}")
        self.setting = setting
        self.value = value
        self.problem = problem


def become(user: str | None, group: str | None) -> None:
    """Changes to `user` and `group`, names or numbers, and to the user's supplementary groups."""
    name, uid, gid = identify(user, group)
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    try:
        if name is not None:
            os.initgroups(name, gid)
        elif os.geteuid() == 0:
            os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    except PermissionError as error:
        wanted = [f"user = {user}"] * bool(user) + [f"group = {group}"] * bool(group)
        raise PermissionError(
            f"{' and '.join(wanted)}: user {user_name()} may not become {uid}:{gid} "
            f"({error.strerror}): start the server as root, or remove this from the settings"
        ) from None


def check_interpreter(user: str | None, group: str | None) -> None:
    """Checks that the current user can import the standard library and this package."""
    for file in (os.__file__, __file__):
        closed = closed_to_user(os.path.dirname(file))
        if closed:
            raise LookupError(
                f"{closed}; install Python and Lockgate where that user can read them, "
                "or choose another user (setting: user)"
            )


def closed_to_user(directory: str) -> str | None:
    """Why the current user cannot import from a directory; None if it can."""
    parts = os.path.realpath(directory).split(os.sep)
    for count in range(1, len(parts) + 1):
        place = os.sep.join(parts[:count]) or os.sep
        needed = os.X_OK if count < len(parts) else os.X_OK | os.R_OK
        try:
            mode = os.stat(place).st_mode & 0o7777
        except FileNotFoundError:
            return None
        if not os.access(place, needed):
            return f"user {user_name()} cannot read {directory}: {place} has mode {mode:04o}"
    return None


def user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def identify(user: str | None, group: str | None) -> tuple[str | None, int, int]:
    """The user name, if there is one, and the numeric IDs of user and group."""
    if user is None:
        name, uid, gid = None, os.geteuid(), os.getegid()
    else:
        name, uid, gid = _user(user, is_group_given=group is not None)
    return name, uid, gid if group is None else _group(group)


def _user(user: str, is_group_given: bool) -> tuple[str | None, int, int]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise UnusableIdentity("user", user, "there is no such user") from None
        try:
            entry = pwd.getpwuid(int(user))
        except (KeyError, OverflowError):
            # A user ID without a passwd entry, as in many containers: root's group must not stay.
            if not is_group_given and int(user) != os.geteuid():
                raise UnusableIdentity(
                    "user",
                    user,
                    "this number has no entry in the password database, so its group is unknown: "
                    f"name one, as in --group {user}",
                ) from None
            return None, int(user), os.getegid()
    return entry.pw_name, entry.pw_uid, entry.pw_gid


def _group(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if not group.isdecimal():
            raise UnusableIdentity("group", group, "there is no such group") from None
        return int(group)
