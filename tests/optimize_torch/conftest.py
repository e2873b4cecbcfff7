from hypothesis import settings

settings.register_profile("tests", deadline=None)  # no test asserts a time
settings.load_profile("tests")
