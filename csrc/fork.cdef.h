/* pthread_atfork */

int pev_watch_forks(void);
unsigned pev_forks(void);
